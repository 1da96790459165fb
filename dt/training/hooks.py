"""What a run tells whoever started it: lines, numbers, and that it starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from dt.checkpoint.state import TrainState
from dt.training.learning import AnyFeed, AnyLearner
from dt.training.trackers import NO_PICTURES, NOTHING, Tracker

Means: TypeAlias = dict[str, float]
"""What is logged of a round, by name."""
NOTHING_MEASURED: Mapping[str, float] = MappingProxyType({})


class Evaluation(NamedTuple):
    """What a score card in the course of training says."""

    error: float | None
    """By which checkpoints are chosen, the lowest first; None: not by this one."""
    values: Mapping[str, float] = NOTHING_MEASURED
    """What is logged of it, by name."""
    texts: Mapping[str, str] = NOTHING
    """Where the whole card is."""
    pictures: Mapping[str, Path] = NO_PICTURES
    """PNG files."""
    summary: str = ""
    """One line for a person."""


Measure: TypeAlias = Callable[[TrainState], Evaluation | None]
"""Scores a state; None where there is nothing to say, as in processes other than the first."""


def ignore(*_: object) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Hooks:
    """Functions that training calls in the first process; the result does not depend on them."""

    on_message: Callable[[str], None] = print
    """Called with what a person may want to know, a line."""
    on_round: Callable[[int, Means], None] = ignore
    """Called with the updates done and what was measured since the last call."""
    on_evaluation: Callable[[int, Evaluation], None] = ignore
    """Called with the updates done and the score card that was made of them."""
    on_start: Callable[[AnyLearner, TrainState, AnyFeed], None] | None = None
    """Called in every process before the first update, with a copy of the state."""
    trackers: tuple[Tracker, ...] = ()
    """Given all that metrics.jsonl is, in the first process; closed at the end."""
