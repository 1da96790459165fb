"""What every verb of steering says: weights unchanged, what it took, score, control, verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

import numpy as np
from jaxtyping import Float

from dt.evaluation.intervals import mean_interval
from dt.evaluation.parts import Estimate
from dt.evaluation.provenance import code_commit, code_versions
from dt.model.params import Params, weights_hash
from dt.words import there_are

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FOLDER = "steering"  # within a run, of what its verbs found

Verdict: TypeAlias = Literal["steers", "ignores", "cannot tell"]
Options = TypeVar("Options", bound="DataclassInstance")


@dataclass(frozen=True)
class Weights:
    """Hashes of all parameters."""

    before: str
    after: str


@dataclass(frozen=True)
class Cost:
    """What a verb took."""

    forward: int  # passes of one sequence through the model; a batch of B counts B
    backward: int  # the same of gradients
    env_steps: int
    episodes: int = 0


@dataclass(frozen=True)
class Measure:
    """A score beside its control, and how much of the difference is sure."""

    what: str  # is measured, with its unit; more is better
    score: float
    control: float
    control_name: str
    effect: Estimate  # score less control, paired where both are of the same contexts or seeds
    least: float = 0.0  # effect that counts: below it nobody would call it steering


@dataclass(frozen=True)
class Outcome:
    """What every verb must say; what is the verb's own stands beside it, in its result."""

    verb: str
    name: str  # tells it from other outcomes of the verb: RUN/steering/VERB-NAME.json
    source: str  # directory of the run, or a word for a policy that has none
    checkpoint_step: int
    weights: Weights
    cost: Cost
    measure: Measure
    verdict: Verdict
    options: dict[str, Any]
    versions: dict[str, str]
    commit: str | None
    command: str

    @property
    def stem(self) -> str:
        """Name of its files, without their suffixes."""
        return f"{self.verb}-{self.name}" if self.name else self.verb

    def line(self) -> str:
        """Say the verdict in one line, with the score beside its control."""
        m, ends = self.measure, self.measure.effect.ci95
        interval = "" if ends is None else f" ({ends[0]:+.3g} to {ends[1]:+.3g})"
        return (
            f"{self.verdict}: {m.what} {m.score:.4g}, {m.control_name} {m.control:.4g}, "
            f"difference {m.effect.value:+.3g}{interval}"
        )


class Found(Protocol):
    """What a verb returns: a frozen dataclass of its own values, with the outcome among them."""

    @property
    def outcome(self) -> Outcome: ...

    def to_json(self) -> dict[str, Any]:
        """Write all of it as JSON has it."""


def verdict_of(effect: Estimate, least: float = 0.0) -> Verdict:
    """Judge an effect: the one rule by which every verb comes to its verdict.

    An input steers where the whole 95 % interval of the effect lies above the least that counts;
    it is ignored where the whole interval lies at or below that; else nobody can tell, and so it
    is where too little was drawn to have an interval.

    Args:
        effect: score less control, more being better.
        least: in the effect's unit.
    """
    if effect.ci95 is None or not np.isfinite(effect.ci95).all():
        return "cannot tell"
    low, high = effect.ci95
    if low > least:
        return "steers"
    return "ignores" if high <= least else "cannot tell"


def paired_measure(
    what: str,
    scores: Float[np.ndarray, " N"],
    controls: Float[np.ndarray, " N"],
    control_name: str,
    least: float = 0.0,
    seed: int = 0,
) -> Measure:
    """Measure scores against controls of the same contexts or seeds, one pair each.

    Args:
        what: is measured, with its unit; more is better.
        seed: of the bootstrap.
    """
    differences = np.asarray(scores, np.float64) - np.asarray(controls, np.float64)
    interval = None
    if len(differences) > 1:
        low, high = mean_interval(differences, np.random.default_rng(seed)).tolist()
        interval = (low, high)
    effect = Estimate(float(differences.mean()), interval)
    return Measure(
        what, float(np.mean(scores)), float(np.mean(controls)), control_name, effect, least
    )


class Ledger:
    """Counts what a verb takes, from the hash of the weights before it to the same after it."""

    def __init__(self, params: Params, source: str, checkpoint_step: int):
        self.source, self.checkpoint_step = source, checkpoint_step
        self.forward = self.backward = self.env_steps = self.episodes = 0
        self.before = weights_hash(params)

    def passes(self, forward: int, backward: int = 0) -> None:
        """Count sequences that went through the model, and those whose gradient was taken."""
        self.forward += int(forward)
        self.backward += int(backward)

    def played(self, episodes: int, steps: int, passes_a_step: int = 1) -> None:
        """Count episodes; each of their steps is one pass of one row, or two where guided."""
        self.episodes += int(episodes)
        self.env_steps += int(steps)
        self.forward += passes_a_step * int(steps)

    def close(
        self,
        params: Params,
        verb: str,
        measure: Measure,
        options: DataclassInstance,
        name: str = "",
        command: str = "",
    ) -> Outcome:
        """Make the outcome of what was counted.

        Raises:
            ValueError: where the weights are not what they were.
        """
        after = weights_hash(params)
        if after != self.before:
            raise ValueError(
                f"{self.source}: the weights changed while {verb} worked; nothing was kept"
            )
        return Outcome(
            verb=verb,
            name=name,
            source=self.source,
            checkpoint_step=self.checkpoint_step,
            weights=Weights(self.before, after),
            cost=Cost(self.forward, self.backward, self.env_steps, self.episodes),
            measure=measure,
            verdict=verdict_of(measure.effect, measure.least),
            options=dataclasses.asdict(options),
            versions=code_versions(),
            commit=code_commit(),
            command=command,
        )


def changed(options: Options, changes: Mapping[str, Any]) -> Options:
    """Replace fields of a verb's options.

    Raises:
        TypeError: for a name that is no field, with the nearest that is.
    """
    known = [each.name for each in dataclasses.fields(options)]
    for name in changes:
        if name not in known:
            raise TypeError(f"no option {name!r}; {there_are(name, known)}")
    return dataclasses.replace(options, **changes)


def as_json(value: object) -> Any:
    """Write a result as JSON has it: dataclasses by field, arrays as lists, paths as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: as_json(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {str(key): as_json(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [as_json(each) for each in value]
    if isinstance(value, np.ndarray | np.generic):
        return as_json(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None  # JSON knows no infinity
    return str(value) if isinstance(value, Path) else value
