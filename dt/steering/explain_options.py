"""What `explain` explains, how, and by how many contexts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from dt.config.checks import Count, Positive, Seed, check_bounds


@dataclass(frozen=True)
class ExplainOptions:
    """Explain what a policy does: which modality, timestep and feature of what it is told its
    action is owed to, the smallest edit that flips or moves it, and how it follows the return.
    Beside it stand the same of randomised weights, and what deleting at random does."""

    method: str = "integrated-gradients"
    """Of the attribution that is judged and drawn: gradient, gradient-x-input,
    integrated-gradients, occlusion, rollout, jacobian. All of them are computed."""
    contexts: Annotated[int, Ge(2)] = 24
    """Windows of the data at whose ends the policy acts."""
    number: int = -1
    """Which number of an action is explained, from 0 on; -1: the one that differs most."""
    steps: Count = 128
    """Of the integral from nothing to what is told."""
    distance: Positive = 0.25
    """By which the smallest edit is to move that number; its bounds are -1 and 1."""
    draws: Count = 3
    """Randomised weights, and random orders of deletion, to compare with."""
    data: str = ""
    """Data that contexts come from; empty: the run's own, held out where it held any out."""
    seed: Seed = 0
    """Decides contexts and what is drawn."""
    checkpoint: str = "last"
    """Which checkpoint is explained: last, best or an update's number."""

    def __post_init__(self) -> None:
        check_bounds(self)
