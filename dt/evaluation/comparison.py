"""Comparisons of two cards: differences with intervals; nothing is played."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from dt.evaluation.card import AggregateCard, AnyCard, Card, Json, card_from_json, flat, rising
from dt.evaluation.intervals import improvement_interval, mean_interval, slope, welch_interval
from dt.evaluation.parts import AnyTargetScore, Estimate
from dt.files import read_json, reading

# What a folder's card is, the first that is there: training's of a run, the newest evaluation's,
# and an aggregate's as older versions wrote it.
LATEST = "latest-card.json"
_CARDS_OF_A_FOLDER = ("card.json", LATEST, "latest-aggregate-card.json", "aggregate-card.json")


@dataclass(frozen=True)
class Change:
    """What is different from A to B."""

    difference: Estimate  # of mean returns, B - A
    higher: Estimate  # the chance that a draw of B brings a higher return than one of A
    closer: Estimate  # and that it comes nearer to the target

    def to_json(self) -> Json:
        """Give the entries of comparison.json."""
        return {
            **flat("difference", self.difference),
            **flat("probability_higher", self.higher),
            **flat("probability_closer", self.closer),
        }


@dataclass(frozen=True)
class TargetChange:
    """What is different at one target."""

    target: float
    ood: bool
    a_mean: float
    b_mean: float
    change: Change

    def to_json(self) -> Json:
        """Give the entries of comparison.json."""
        own = {"target": self.target, "ood": self.ood}
        return {**own, "a_mean": self.a_mean, "b_mean": self.b_mean, **self.change.to_json()}


@dataclass(frozen=True)
class SlopeChange:
    """What is different in the slopes of achieved over asked."""

    a: float
    b: float
    difference: Estimate

    def to_json(self) -> Json:
        """Give the entries of comparison.json."""
        return {"a": self.a, "b": self.b, **flat("difference", self.difference)}


@dataclass(frozen=True)
class Comparison:
    """What changes from card A to card B, at the targets that both asked for."""

    names: tuple[str, str]
    a: AnyCard
    b: AnyCard
    paired: bool  # episode by episode, which began alike
    targets: tuple[TargetChange, ...]
    num_targets: int  # those that `overall` is over
    overall: Change
    slope: SlopeChange | None

    @property
    def unit(self) -> str:
        """What was drawn."""
        return "runs" if isinstance(self.a, AggregateCard) else "episodes"

    def to_json(self) -> Json:
        """Give the entries of comparison.json."""
        return {
            "env_id": self.a.env_id,
            "a": _origin(self.a, self.names[0]),
            "b": _origin(self.b, self.names[1]),
            "unit": self.unit,
            "paired": self.paired,
            "targets": [row.to_json() for row in self.targets],
            "overall": {"targets": self.num_targets, **self.overall.to_json()},
            "slope": self.slope and self.slope.to_json(),
        }


def read_card(path: Path) -> AnyCard:
    """Read a card from its file, or that of a folder.

    Of a run directory that is the card that training made, and without one its newest
    evaluation's; of a folder that evaluations wrote to (--out), the newest.

    Raises:
        ValueError: when there is none, or the file holds something else.
    """
    file = path
    if path.is_dir():
        there = (path / name for name in _CARDS_OF_A_FOLDER)
        file = next((each for each in there if each.exists()), path / "card.json")
    if not file.is_file():
        raise ValueError(f"{file}: no such card; make one with dt evaluate RUN_DIR")
    values = read_json(file)
    values = values if isinstance(values, dict) else {}
    with reading(file):
        if values.keys() == {"card"} and (file.parent / str(values["card"])).is_file():
            return read_card(file.parent / str(values["card"]))  # what stands in for a link
        try:
            card = card_from_json(values)
            _check_rows(card)
        except ValueError as error:
            raise ValueError(f"{file}: is no card of this version: {error}") from None
    return card


def _check_rows(card: AnyCard) -> None:
    """Refuse rows that no table can show: of numbers that are none, or of unequal length.

    Raises:
        ValueError: naming the row, or the layout that is none.
    """
    card.takes_return  # noqa: B018 (raises for a layout that is none)
    rows: tuple[AnyTargetScore, ...] = card.targets
    for number, row in enumerate(rows):
        if len(row.sample) != len(rows[0].sample) or not row.sample:
            raise ValueError(f"targets[{number}] has {len(row.sample)} returns, others have more")
        if not np.isfinite([row.target, row.centre, *row.sample]).all():
            raise ValueError(f"targets[{number}] holds a return that is not finite")


def compare_cards(a: AnyCard, b: AnyCard, names: tuple[str, str]) -> Comparison:
    """Compare two cards at the targets that both asked for.

    A card's sample is its episodes, or its runs where it is an aggregate. Two cards of the same
    environment and seed played the same starts, and are compared episode by episode.

    Raises:
        ValueError: for cards of two environments, with no target in common, or of which one is an
            aggregate.
    """
    _check_comparable(a, b, names)
    pairs = _shared_targets(a, b)
    if not pairs:
        raise ValueError(
            f"--compare: the cards share no target ({_asked(a)}; {_asked(b)}); evaluate both with "
            f"the same --targets, and name the files that are written ({LATEST} is the newest)"
        )
    returns_a = np.array([row.sample for row, _ in pairs], np.float64)  # (T, n)
    returns_b = np.array([row.sample for _, row in pairs], np.float64)
    asked = [row if a.takes_return else other for row, other in pairs]
    targets = np.array([row.target for row in asked])
    ood = np.array([row.ood for row in asked])
    paired = _played_alike(a, b)
    rng = np.random.default_rng(0)
    rows = _compare_targets(targets, ood, returns_a, returns_b, paired, rng)
    # Over the targets within the data; an episode counts with all that its seed came to.
    kept = ~ood if (~ood).any() else ood
    targets, returns_a, returns_b = targets[kept], returns_a[kept], returns_b[kept]
    mean_a, mean_b = returns_a.mean(axis=0), returns_b.mean(axis=0)
    interval = _difference(mean_a, mean_b, paired, rng)
    difference = _estimate(float(mean_b.mean() - mean_a.mean()), interval)
    return Comparison(
        names=names,
        a=a,
        b=b,
        paired=paired,
        targets=rows,
        num_targets=int(kept.sum()),
        overall=_change(difference, targets, returns_a, returns_b, paired),
        slope=_slopes(targets, returns_a, returns_b, paired, rng),
    )


def _check_comparable(a: AnyCard, b: AnyCard, names: tuple[str, str]) -> None:
    for played in ((a.env_id, b.env_id), (a.env_kwargs, b.env_kwargs)):
        if played[0] != played[1]:
            raise ValueError(
                f"--compare: {names[0]} played {played[0]}, {names[1]} {played[1]}; "
                f"returns of two environments do not compare"
            )
    if isinstance(a, Card) != isinstance(b, Card):
        runs, single = names if isinstance(b, Card) else names[::-1]
        raise ValueError(
            f"--compare: {runs} aggregates runs, {single} is a single one's; compare two of a kind"
        )


def _played_alike(a: AnyCard, b: AnyCard) -> bool:
    """Whether episode i of both cards began alike."""
    if not isinstance(a, Card) or not isinstance(b, Card):
        return False
    # On the device a seed starts another episode than on the host.
    return (a.seed, a.episodes, a.on_device) == (b.seed, b.episodes, b.on_device)


def _compare_targets(
    targets: Float[np.ndarray, " T"],
    ood: np.ndarray,
    a: Float[np.ndarray, "T n"],
    b: Float[np.ndarray, "T m"],
    paired: bool,
    rng: np.random.Generator,
) -> tuple[TargetChange, ...]:
    intervals = _difference(a, b, paired, rng)
    rows = []
    for t, target in enumerate(targets):
        own = slice(t, t + 1)
        difference = _estimate(float(b[t].mean() - a[t].mean()), intervals[t])
        rows.append(
            TargetChange(
                target=float(target),
                ood=bool(ood[t]),
                a_mean=float(a[t].mean()),
                b_mean=float(b[t].mean()),
                change=_change(difference, targets[own], a[own], b[own], paired),
            )
        )
    return tuple(rows)


def _change(
    difference: Estimate,
    targets: Float[np.ndarray, " T"],
    a: Float[np.ndarray, "T n"],
    b: Float[np.ndarray, "T m"],
    paired: bool,
) -> Change:
    misses_a, misses_b = (np.abs(returns - targets[:, None]) for returns in (a, b))
    return Change(difference, _chance(a, b, paired), _chance(-misses_a, -misses_b, paired))


def _difference(
    a: Float[np.ndarray, "*T n"],
    b: Float[np.ndarray, "*T m"],
    paired: bool,
    rng: np.random.Generator,
) -> Float[np.ndarray, "*T 2"]:
    return mean_interval(b - a, rng) if paired else welch_interval(a, b)


def _slopes(
    targets: Float[np.ndarray, " T"],
    a: Float[np.ndarray, "T n"],
    b: Float[np.ndarray, "T m"],
    paired: bool,
    rng: np.random.Generator,
) -> SlopeChange | None:
    if np.ptp(targets) == 0:
        return None
    slopes_a, slopes_b = slope(targets, a.T), slope(targets, b.T)
    mean_a, mean_b = float(slopes_a.mean()), float(slopes_b.mean())
    interval = _difference(slopes_a, slopes_b, paired, rng)
    value = float(slopes_b.mean() - slopes_a.mean())
    return SlopeChange(mean_a, mean_b, _estimate(value, interval))


def _chance(a: Float[np.ndarray, "T n"], b: Float[np.ndarray, "T m"], paired: bool) -> Estimate:
    """Of a draw of b being above one of a."""
    p, interval = improvement_interval(a, b, paired)
    return _estimate(p, np.array(interval))


def _estimate(value: float, interval: Float[np.ndarray, " 2"]) -> Estimate:
    """A single episode or run has no interval, and JSON knows no NaN."""
    if not np.isfinite(interval).all():
        return Estimate(value)
    return Estimate(value, (float(interval[0]), float(interval[1])))


def _shared_targets(a: AnyCard, b: AnyCard) -> list[tuple[AnyTargetScore, AnyTargetScore]]:
    """Rows of both cards that asked for the same return, the lowest first; those of models that
    chose it themselves stand side by side, and what a model did that takes none stands beside all
    that the other was asked for."""
    if not (a.takes_return and b.takes_return):
        rows, others = (rising(card)[: None if card.takes_return else 1] for card in (a, b))
        count = max(len(rows), len(others))
        repeated = (each * (count if len(each) == 1 else 1) for each in (rows, others))
        return list(zip(*repeated, strict=True))
    if a.acting.expert and b.acting.expert:
        return list(zip(rising(a), rising(b), strict=True))
    return [
        (row, other)
        for row in rising(a)
        for other in b.targets
        if np.isclose(row.target, other.target, rtol=1e-6, atol=1e-9)
    ]


def _asked(card: AnyCard) -> str:
    return ", ".join(f"{row.target:.5g}" for row in card.targets)


def _origin(card: AnyCard, name: str) -> Json:
    """Which card it was; an aggregate's runs stand for its update."""
    values = card.to_json()
    kept = ("checkpoint_step", "runs", "selection", "baseline", "calibrated", "episodes", "seed")
    return {"name": name, **{key: values[key] for key in (*kept, "commit") if key in values}}
