"""Options of the optimiser: learning rate, warm-up, decay and clipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from dt.config.checks import BelowOne, CountOrNone, NotNegative, Positive, check_bounds


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with a linear warm-up."""

    learning_rate: Positive = 3e-4
    """Learning rate after the warm-up, its peak."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """How the learning rate goes on after the warm-up."""
    warmup_steps: CountOrNone = 1000
    """Updates over which the learning rate rises from 0 to its peak."""
    warmup_fraction: Annotated[float, Interval(ge=0, le=1)] = 0.0
    """Warm-up as a share of all updates, in place of warmup_steps; 0: warmup_steps."""
    final_fraction: float = 0.1
    """Learning rate at the end of the cosine, as a share of the peak."""
    weight_decay: NotNegative = 1e-4
    """AdamW's decoupled weight decay, in units of the learning rate."""
    decay: Literal["matrices", "all"] = "matrices"
    """What decays: matrices of linear layers, or biases, norms and embeddings too."""
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    """Adam's decay rates of the gradient's running mean and of its square's."""
    clip_norm: Positive = 0.25
    """Largest norm of the whole gradient, which is scaled down to it; inf: never clipped."""

    def __post_init__(self) -> None:
        check_bounds(self, "optimizer.")
