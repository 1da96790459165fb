"""Contests: any number of cards side by side, each held against the first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from dt.evaluation.card import AnyCard, Card, Json, rising
from dt.evaluation.intervals import LEVEL, NUM_RESAMPLES
from dt.evaluation.parts import AnyTargetScore, Estimate


class Curve(NamedTuple):
    """A number of a run's log over its updates."""

    steps: Float[np.ndarray, " N"]
    values: Float[np.ndarray, " N"]


@dataclass(frozen=True)
class Contender:
    """A card with a name, and the run directories whose logs belong to it."""

    name: str
    card: AnyCard
    run_dirs: tuple[Path, ...] = ()

    @property
    def best(self) -> AnyTargetScore:
        """The target at which most came: what one would ask for."""
        return max(rising(self.card), key=lambda row: row.centre)

    @property
    def top(self) -> AnyTargetScore:
        """The highest target within the data."""
        rows = rising(self.card)
        return ([row for row in rows if not row.ood] or rows)[-1]

    def curves(self, name: str) -> list[Curve]:
        """Read a number's course from the log of each run that has it."""
        found = [_curve(run_dir, name) for run_dir in self.run_dirs]
        return [curve for curve in found if len(curve.steps)]

    @cached_property
    def updates_per_second(self) -> float | None:
        """Median over the logs, whose first line has the compilation in it; None without one."""
        curves = self.curves("updates_per_second")
        speeds = [value for curve in curves for value in _settled(curve.values)]
        return float(np.median(speeds)) if speeds else None


@dataclass(frozen=True)
class Contest:
    """Contenders in one environment; the first is the one that the others are held against."""

    contenders: tuple[Contender, ...]
    improvements: tuple[Estimate | None, ...]
    """Of each contender over the first; None for the first, and where the two are cards of
    different kinds."""

    @property
    def env_id(self) -> str:
        return self.contenders[0].card.env_id

    @property
    def unit(self) -> str:
        """What was drawn."""
        return "episodes" if isinstance(self.contenders[0].card, Card) else "runs"

    def to_json(self) -> Json:
        """Give the contest as compare.json holds it."""
        pairs = zip(self.contenders, self.improvements, strict=True)
        return {
            "env_id": self.env_id,
            "unit": self.unit,
            "against": self.contenders[0].name,
            "contenders": [_entry(contender, change) for contender, change in pairs],
        }


def contest(contenders: list[Contender]) -> Contest:
    """Hold contenders against the first of them.

    Raises:
        ValueError: for none, for a name that two have, and for cards of two environments.
    """
    if not contenders:
        raise ValueError("nothing to compare; name cards, or --variants to train")
    first, names = contenders[0], [contender.name for contender in contenders]
    for place, contender in enumerate(contenders):
        if contender.name in names[:place]:
            raise ValueError(f"{contender.name}: named twice")
        if contender.card.env_id != first.card.env_id:
            raise ValueError(
                f"{first.name} played {first.card.env_id}, {contender.name} "
                f"{contender.card.env_id}; returns of two environments do not compare"
            )
    rng = np.random.default_rng(0)
    improvements: list[Estimate | None] = [None]
    for contender in contenders[1:]:
        alike = isinstance(first.card, Card) == isinstance(contender.card, Card)
        a, b = (np.array(each.best.sample, np.float64) for each in (first, contender))
        improvements.append(improvement(a, b, rng) if alike else None)
    return Contest(tuple(contenders), tuple(improvements))


def improvement(
    a: Float[np.ndarray, " n"], b: Float[np.ndarray, " m"], rng: np.random.Generator
) -> Estimate:
    """Estimate the probability of improvement P(B > A) as rliable does (Agarwal et al. 2021).

    It is the share of pairs of runs in which that of B brings more, ties counting half; its
    interval holds the middle 95 % of bootstrap draws of the runs of both. Of few runs the interval
    is too narrow, and none at all where all of B are above all of A.

    Args:
        a, b: a number of each run, or of each episode.
    """
    wins = (b > a[:, None]) + 0.5 * (b == a[:, None])  # (n, m)
    if min(len(a), len(b)) == 1:
        return Estimate(float(wins.mean()))
    rows = rng.integers(0, len(a), (NUM_RESAMPLES, len(a)))
    columns = rng.integers(0, len(b), (NUM_RESAMPLES, len(b)))
    drawn = np.array([wins[np.ix_(i, j)].mean() for i, j in zip(rows, columns, strict=True)])
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Estimate(float(wins.mean()), (low, high))


def _curve(run_dir: Path, name: str) -> Curve:
    file = run_dir / "metrics.jsonl"
    points = []
    for line in file.read_text().splitlines() if file.is_file() else ():
        try:
            values = json.loads(line)
            points.append((float(values["step"]), float(values[name])))
        except (ValueError, KeyError, TypeError):  # cut off, or logged without this number
            continue
    return Curve(*np.array(points, np.float64).reshape(-1, 2).T)


def _settled(values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " K"]:
    return values[1:] if len(values) > 1 else values


def _entry(contender: Contender, change: Estimate | None) -> Json:
    calibration = contender.card.calibration
    slope = error = None
    if calibration is not None:
        slope, error = calibration.slope.value, calibration.mae_over_range.value
    return {
        "name": contender.name,
        "takes_return": contender.card.takes_return,
        "best": _row(contender.best, contender.card),
        "top": _row(contender.top, contender.card),
        "slope": slope,
        "mae_over_range": error,
        "updates_per_second": contender.updates_per_second,
        "improvement": change and change.value,
        "improvement_ci95": change and change.ci95 and list(change.ci95),
        "run_dirs": [str(run_dir) for run_dir in contender.run_dirs],
    }


def _row(row: AnyTargetScore, card: AnyCard) -> Json:
    interval = row.return_ci95 and list(row.return_ci95)
    target = row.target if card.takes_return else None
    return {"target": target, "return": row.centre, "return_ci95": interval}
