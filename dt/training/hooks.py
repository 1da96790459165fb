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


def nothing(*_: object) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Hooks:
    """Functions that training calls in the first process; the result does not depend on them."""

    say: Callable[[str], None] = print
    """Told what a person may want to know, in one line."""
    on_round: Callable[[int, Means], None] = nothing
    """Called with the updates done and what was measured since the last call."""
    on_start: Callable[[Learner, TrainState, Feed], None] | None = None
    """Called in every process before the first update, with a copy of the state."""
