"""What a run tells whoever started it: lines, numbers, and that it starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from dt.checkpoint.state import TrainState
from dt.training.feed import Feed
from dt.training.step import Learner

Means: TypeAlias = dict[str, float]
"""What is logged of a round, by name."""


def ignore(*_: object) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Hooks:
    """Functions that training calls in the first process; the result does not depend on them."""

    on_message: Callable[[str], None] = print
    """Called with what a person may want to know, a line."""
    on_round: Callable[[int, Means], None] = ignore
    """Called with the updates done and what was measured since the last call."""
    on_start: Callable[[Learner, TrainState, Feed], None] | None = None
    """Called in every process before the first update, with a copy of the state."""
