"""Score cards of one run and of several, and their form in JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import cattrs
from cattrs.gen import make_dict_unstructure_fn, override

from dt.acting.options import CARD_KEYS, ActingOptions, fields_of_card
from dt.data.reference import Reference
from dt.evaluation.parts import (
    AnyTargetScore,
    Beyond,
    Calibration,
    Control,
    DatasetFacts,
    Estimate,
    Expectation,
    Measured,
    RunsTargetScore,
    RunSummary,
    ScoreValue,
    TargetScore,
)
from dt.files import structured
from dt.spaces.environments import EnvKwargs
from dt.spec.layout import TokenLayout

Json: TypeAlias = dict[str, Any]  # an object of a JSON file


@dataclass(frozen=True, kw_only=True)
class _Played:
    """What a card of one run and one of several have in common."""

    env_id: str
    env_kwargs: EnvKwargs
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

    @property
    def takes_return(self) -> bool:
        """Whether the policy is told a return; else its one row holds for whatever is asked."""
        return TokenLayout.parse(self.layout).has("return")

    def acting_entries(self) -> Json:
        """Say how the policy acted, as the card's file does."""
        return self.acting.to_card(self.return_expectile)


@dataclass(frozen=True, kw_only=True)
class Card(_Played):
    """The score card of one checkpoint."""

    checkpoint_step: int
    prefix: str
    seed: int
    targets: tuple[TargetScore, ...]
    control: Control | None = None  # what comes unasked, where the model can be unasked
    measured: Measured | None = None  # of the ask table, where the policy was asked by one

    def to_json(self) -> Json:
        """Give the card as its file holds it."""
        return _to_json(self, _CARD_KEYS)

    @classmethod
    def from_json(cls, values: Json) -> Card:
        """Read a card from what its file holds; keys that are younger than the file may be missing.

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
        """Give the card as its file holds it."""
        return _to_json(self, _AGGREGATE_KEYS)

    @classmethod
    def from_json(cls, values: Json) -> AggregateCard:
        """Read a card as `Card.from_json` does."""
        return _from_json(cls, values, _AGGREGATE_KEYS)


AnyCard: TypeAlias = Card | AggregateCard
CardT = TypeVar("CardT", Card, AggregateCard)


def rising(card: AnyCard) -> list[AnyTargetScore]:
    """Sort a card's targets, the lowest first."""
    rows: list[AnyTargetScore] = list(card.targets)
    return sorted(rows, key=lambda row: row.target)


def card_from_json(values: Json) -> AnyCard:
    """Read the card of one run or of several, whichever it is.

    Raises:
        ValueError: as `Card.from_json`.
    """
    if "runs" in values:
        return AggregateCard.from_json(values)
    return Card.from_json(values)


def flat(name: str, value: ScoreValue) -> Json:
    """Give a score as JSON: its interval stands under a key of its own."""
    if not isinstance(value, Estimate):
        return {name: value}
    return {name: value.value, f"{name}_ci95": value.ci95 and list(value.ci95)}


_CARD_KEYS = [
    *"env_id env_kwargs checkpoint_step selection".split(),
    *CARD_KEYS,
    *"on_device layout prefix episodes seed wall_seconds env_steps_per_second reference".split(),
    *"targets calibration beyond verdict dataset versions command commit expectation".split(),
    *"control measured".split(),
]
_AGGREGATE_KEYS = [
    *"env_id env_kwargs".split(),
    *CARD_KEYS,
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
_SAID = ("expectation", "control", "measured")  # parts that are there only where there are any
_OPTIONAL = ("past_end", "guidance", "asked", "steer", *_SAID)


def _to_json(card: AnyCard, keys: list[str]) -> Json:
    values = _CONVERTER.unstructure(card) | card.acting_entries()
    for name in _SAID:
        if values.get(name, 0) is None:
            del values[name]
    return {key: values[key] for key in keys if key in values}


def _from_json(cls: type[CardT], values: Json, keys: list[str]) -> CardT:
    known = _YOUNGER | values
    missing = [key for key in keys if key not in known and key not in _OPTIONAL]
    if missing:
        raise ValueError(f"it has no {missing[0]}")
    expert = known["expert"]
    own = {field.name for field in dataclasses.fields(cls)}
    parts: Json = {key: value for key, value in known.items() if key in own}
    parts["acting"] = fields_of_card(known)
    parts["return_expectile"] = expert.get("expectile") if isinstance(expert, dict) else None
    card = structured(cls, parts | {"calibration": None})
    return dataclasses.replace(card, calibration=_calibration_from_json(known["calibration"]))


def _calibration_from_json(values: object) -> Calibration | None:
    """The scores by name, those that nobody knows here too."""
    if values is None:
        return None
    if not isinstance(values, dict) or not isinstance(values.get("verdict"), str):
        raise ValueError("calibration: it must hold scores and a verdict")
    scores: dict[str, ScoreValue] = {}
    for name, value in values.items():
        if name == "verdict" or name.endswith("_ci95"):
            continue
        if value is not None and not isinstance(value, float | int | str):
            raise ValueError(f"calibration.{name}: {value!r} is no score")
        scores[name] = value
        if f"{name}_ci95" in values:
            parts = {"value": value, "ci95": values[f"{name}_ci95"]}
            scores[name] = structured(Estimate, parts, f"calibration.{name}")
    return Calibration(scores, values["verdict"])


def _calibration_to_json(calibration: Calibration) -> Json:
    values: Json = {}
    for name, score in calibration.scores.items():
        values |= flat(name, score)
    return values | {"verdict": calibration.verdict}


def _make_converter() -> cattrs.Converter:
    """What turns these types into JSON."""
    converter = cattrs.Converter(unstruct_collection_overrides={tuple: list})
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
