"""Types of score cards: what was asked, what came, and how the one follows the other.

A card is read and written as JSON here and nowhere else: `Card.to_json` and `Card.from_json`, and
the same of an `AggregateCard`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, TypeVar

import cattrs
from cattrs.gen import make_dict_unstructure_fn, override

from dt.acting.options import ActingOptions
from dt.data.episodes import Reference

Json: TypeAlias = dict[str, Any]  # an object of a JSON file
Interval: TypeAlias = tuple[float, float]

T = TypeVar("T")


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; None where too little was drawn to have one."""

    value: float
    ci95: Interval | None = None

    def scaled(self, factor: float) -> Estimate:
        ends = self.ci95 and (factor * self.ci95[0], factor * self.ci95[1])
        return Estimate(factor * self.value, ends)


# What a score may come to: a number with or without an interval, words, or nothing that is defined.
ScoreValue: TypeAlias = Estimate | float | str | None


@dataclass(frozen=True)
class TargetScore:
    """What the episodes that were asked for one return brought."""

    target: float
    ood: bool  # beyond all returns of the data
    return_mean: float
    return_std: float
    return_ci95: Interval | None
    normalized_score: float | None
    length_mean: float
    episode_returns: tuple[float, ...]
    request: float | None = None  # what a request map asked the policy for; None without a map
    reachable: bool = True

    @property
    def centre(self) -> float:
        """The number that stands for this target in tables and pictures."""
        return self.return_mean

    @property
    def sample(self) -> tuple[float, ...]:
        """What the interval is over."""
        return self.episode_returns


@dataclass(frozen=True)
class RunsTargetScore:
    """What several runs brought that were asked for one return."""

    target: float
    ood: bool
    return_iqm: float  # the interquartile mean of the runs' means
    return_ci95: Interval
    return_mean: float
    return_std: float
    normalized_score: float | None
    length_mean: float
    run_means: tuple[float, ...]

    request: ClassVar[float | None] = None
    reachable: ClassVar[bool] = True

    @property
    def centre(self) -> float:
        return self.return_iqm

    @property
    def sample(self) -> tuple[float, ...]:
        return self.run_means


@dataclass(frozen=True)
class Calibration:
    """How achieved returns follow the targets: each score by its name in `scores.SCORES`."""

    scores: dict[str, ScoreValue]
    verdict: str

    @property
    def slope(self) -> Estimate:
        return self.estimate("slope")

    @property
    def mae_over_range(self) -> Estimate:
        return self.estimate("mae_over_range")

    def estimate(self, name: str) -> Estimate:
        """A score that is a number, without an interval where it has none.

        Raises:
            ValueError: for a score that is not there or no number.
        """
        value = self.scores.get(name)
        if isinstance(value, Estimate):
            return value
        if value is None or isinstance(value, str):
            raise ValueError(f"calibration.{name} is {value!r}; it must be a number")
        return Estimate(value)


@dataclass(frozen=True)
class Beyond:
    """What asking for more than the data holds brought, against the most within the data."""

    target: float
    against: float
    gain: float
    gain_ci95: Interval | None
    verdict: str


@dataclass(frozen=True)
class Expectation:
    """What a model that chooses its own returns expected of itself, against what came."""

    chosen_mean: float
    difference: float
    standard_error: float | None
    verdict: str


@dataclass(frozen=True)
class Histogram:
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class DatasetFacts:
    """The returns of the data that the policy learned from."""

    id: str
    episodes: int
    steps: int
    return_mean: float
    return_percentiles: dict[str, float]  # p0, p5, ..., p100
    return_histogram: Histogram


@dataclass(frozen=True)
class RunSummary:
    """One run of an aggregate."""

    name: str
    checkpoint_step: int
    seed: int
    slope: float | None
    mae_over_range: float | None
    verdict: str


@dataclass(frozen=True, kw_only=True)
class _Played:
    """What a card of one run and one of several have in common."""

    env_id: str
    env_kwargs: dict[str, Any]
    acting: ActingOptions
    # Of a model that predicts one number of the return, in place of the expert's choice.
    return_expectile: float | None = None
    on_device: bool
    layout: str
    episodes: int  # a target
    reference: Reference | None
    dataset: DatasetFacts
    versions: dict[str, str]  # of packages
    command: str
    commit: str | None
    selection: str  # last, best or chosen
    wall_seconds: float
    env_steps_per_second: float
    calibration: Calibration | None
    beyond: Beyond | None
    verdict: str
    expectation: Expectation | None = None  # where the model chose its own returns


@dataclass(frozen=True, kw_only=True)
class Card(_Played):
    """The score card of one checkpoint."""

    checkpoint_step: int
    prefix: str
    seed: int
    targets: tuple[TargetScore, ...]

    def to_json(self) -> Json:
        """As a card's file holds it."""
        return _to_json(self, _CARD_KEYS)

    @classmethod
    def from_json(cls, values: Json) -> Card:
        """A card from what its file holds; keys that are younger than the file may be missing.

        Raises:
            ValueError: naming the key that is missing or holds something else.
        """
        return _from_json(cls, values, _CARD_KEYS)


@dataclass(frozen=True, kw_only=True)
class AggregateCard(_Played):
    """The score card of several runs of one kind."""

    runs: tuple[RunSummary, ...]
    targets: tuple[RunsTargetScore, ...]

    def to_json(self) -> Json:
        return _to_json(self, _AGGREGATE_KEYS)

    @classmethod
    def from_json(cls, values: Json) -> AggregateCard:
        """As `Card.from_json`."""
        return _from_json(cls, values, _AGGREGATE_KEYS)


AnyCard: TypeAlias = Card | AggregateCard


def card_from_json(values: Json) -> AnyCard:
    """The card of one run or of several, whichever it is.

    Raises:
        ValueError: as `Card.from_json`.
    """
    if "runs" in values:
        return AggregateCard.from_json(values)
    return Card.from_json(values)


def flat(name: str, value: ScoreValue) -> Json:
    """A score as JSON: its interval stands under a key of its own."""
    if not isinstance(value, Estimate):
        return {name: value}
    return {name: value.value, f"{name}_ci95": value.ci95 and list(value.ci95)}


_ACTING_KEYS = """baseline deterministic temperature top_p expert calibrated clipped
    recomputed""".split()
_CARD_KEYS = [
    *"env_id env_kwargs checkpoint_step selection".split(),
    *_ACTING_KEYS,
    *"on_device layout prefix episodes seed wall_seconds env_steps_per_second reference".split(),
    *"targets calibration beyond verdict dataset versions command commit expectation".split(),
]
_AGGREGATE_KEYS = [
    *"env_id env_kwargs".split(),
    *_ACTING_KEYS,
    *"on_device layout episodes reference dataset versions command commit selection runs".split(),
    *"wall_seconds env_steps_per_second targets calibration beyond verdict expectation".split(),
]
# Keys that the first cards did not have, and what went without saying then.
_YOUNGER: Json = {
    "temperature": 1.0,
    "top_p": 1.0,
    "expert": None,
    "recomputed": False,
    "prefix": "none",
}


def _to_json(card: AnyCard, keys: list[str]) -> Json:
    values = _CONVERTER.unstructure(card) | _acting_to_json(card.acting, card.return_expectile)
    if card.expectation is None:
        del values["expectation"]
    return {key: values[key] for key in keys if key in values}


def _from_json(cls: type[T], values: Json, keys: list[str]) -> T:
    known = _YOUNGER | values
    missing = [key for key in keys if key not in known and key != "expectation"]
    if missing:
        raise ValueError(f"it has no {missing[0]}")
    try:
        return _CONVERTER.structure(known | _acting_from_json(known), cls)
    except cattrs.BaseValidationError as error:
        first = cattrs.transform_error(error, format_exception=_complaint)[0]
        complaint, _, place = first.partition(" @ $.")
        raise ValueError(f"its {place} {complaint}") from None


def _complaint(error: BaseException, _: type | None) -> str:
    return "is missing" if isinstance(error, KeyError) else str(error)


def _acting_to_json(options: ActingOptions, return_expectile: float | None) -> Json:
    expert: Json | None = options.expert and dataclasses.asdict(options.expert)
    if return_expectile is not None:
        expert = {"expectile": return_expectile}
    return {
        "baseline": "null" if options.null else None,
        "deterministic": options.deterministic,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "expert": expert,
        "calibrated": options.calibrated,
        "clipped": options.clip,
        "recomputed": options.recompute,
    }


def _acting_from_json(values: Json) -> Json:
    """The fields `acting` and `return_expectile` from a card's keys."""
    expert = values["expert"]
    expectile = expert["expectile"] if expert and "expectile" in expert else None
    acting = {
        "deterministic": values["deterministic"],
        "temperature": values["temperature"],
        "top_p": values["top_p"],
        "null": values["baseline"] == "null",
        "clip": values["clipped"],
        "recompute": values["recomputed"],
        "expert": {} if expectile is not None else expert,
        "calibrated": values["calibrated"],
    }
    return {"acting": acting, "return_expectile": expectile}


def _calibration_from_json(values: Json, _: type) -> Calibration:
    scores: dict[str, ScoreValue] = {}
    for name, value in values.items():
        if name == "verdict" or name.endswith("_ci95"):
            continue
        if value is not None and not isinstance(value, float | int | str):
            raise TypeError(f"is wrong: {name} is {value!r}, which is no score")
        scores[name] = value
        if f"{name}_ci95" in values:
            ends = values[f"{name}_ci95"]
            interval = None if ends is None else (_number(ends[0]), _number(ends[1]))
            scores[name] = Estimate(_number(value), interval)
    return Calibration(scores, values["verdict"])


def _calibration_to_json(calibration: Calibration) -> Json:
    values: Json = {}
    for name, score in calibration.scores.items():
        values |= flat(name, score)
    return values | {"verdict": calibration.verdict}


def _number(value: object, _: type = float) -> float:
    if isinstance(value, bool) or not isinstance(value, float | int):
        raise TypeError(f"is {value!r}, not a number")
    return float(value)


def _same(value: object, kind: type[T]) -> T:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"is {value!r}, not of type {kind.__name__}")
    return value


def _make_converter() -> cattrs.Converter:
    """What turns these types into JSON and back, and takes no text for a number."""
    converter = cattrs.Converter(unstruct_collection_overrides={tuple: list})
    converter.register_structure_hook(float, _number)
    for kind in (int, str, bool):
        converter.register_structure_hook(kind, _same)
    converter.register_structure_hook(Calibration, _calibration_from_json)
    converter.register_unstructure_hook(Calibration, _calibration_to_json)
    whole_row = make_dict_unstructure_fn(TargetScore, converter)
    without_map = make_dict_unstructure_fn(
        TargetScore, converter, request=override(omit=True), reachable=override(omit=True)
    )
    converter.register_unstructure_hook(
        TargetScore, lambda row: (without_map if row.request is None else whole_row)(row)
    )
    return converter


_CONVERTER = _make_converter()
