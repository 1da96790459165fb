"""Measure the columns of rows, some rows at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Moments(NamedTuple):
    """Count, mean, squared deviations and bounds of each column, over all rows."""

    num_rows: int
    mean: Float[np.ndarray, " W"]
    deviations: Float[np.ndarray, " W"]
    low: Float[np.ndarray, " W"]
    high: Float[np.ndarray, " W"]

    @classmethod
    def of(cls, rows: Float[np.ndarray, "n W"]) -> Moments:
        """Measure some rows, in float64."""
        wide = rows.astype(np.float64)
        mean = wide.mean(axis=0)
        deviations = np.square(wide - mean).sum(axis=0)
        return cls(len(rows), mean, deviations, wide.min(axis=0), wide.max(axis=0))

    def merge(self, other: Moments) -> Moments:
        """Measure both sets of rows together (Chan et al. 1983, eq. 2.1)."""
        num_rows = self.num_rows + other.num_rows
        apart = other.mean - self.mean
        shift = np.square(apart) * (self.num_rows * other.num_rows / num_rows)
        return Moments(
            num_rows,
            self.mean + apart * (other.num_rows / num_rows),
            self.deviations + other.deviations + shift,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )

    @property
    def std(self) -> Float[np.ndarray, " W"]:
        return np.sqrt(self.deviations / self.num_rows)
