"""Score returns between those of a random and of an expert policy of the same task."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Reference:
    """Two returns that define a normalised score: 0 is `low` (random), 100 is `high` (expert)."""

    source: str
    low: float
    high: float

    def __post_init__(self) -> None:
        if not -np.inf < self.low < self.high < np.inf:
            raise ValueError(
                f"{self.source}: reference {self.low} to {self.high}; give two finite returns, the "
                f"second above the first"
            )

    def normalize(self, returns: np.ndarray | float) -> np.ndarray | float:
        """Score returns on the scale from 0 to 100; below and above where they are outside."""
        return 100.0 * (returns - self.low) / (self.high - self.low)


def task_of(env_id: str | None) -> str | None:
    """Cut the version off an id: a task's reference is used for all of them."""
    return env_id and re.sub(r"-v\d+$", "", env_id)
