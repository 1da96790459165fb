"""The best that a search has seen, for each of its problems."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


class Best:
    """Keeps each problem's best candidate of all that it is offered."""

    def __init__(self) -> None:
        self.value: Float[np.ndarray, " Q"] = np.zeros(0)
        self.candidate = np.zeros((0, 0))  # (Q, d)

    def offer(self, values: Float[np.ndarray, "Q N"], candidates: np.ndarray) -> None:
        """Take the best of these candidates, (Q, N, d), where it is better than the one kept."""
        rows = np.arange(len(values))
        top = values.argmax(axis=1)
        value, candidate = values[rows, top], candidates[rows, top]
        if not len(self.value):
            self.value, self.candidate = value.copy(), candidate.copy()
            return
        better = value > self.value
        self.value = np.where(better, value, self.value)
        self.candidate = np.where(better[:, None], candidate, self.candidate)
