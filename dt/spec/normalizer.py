"""Scale numbers to the model's units, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dt.spaces.arrays import ArrayT


@dataclass(frozen=True)
class Normalizer:
    """Shift and scale feature by feature, x -> (x - mean) / scale; of NumPy's and JAX's arrays."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, mean: np.ndarray, std: np.ndarray, tolerance: float = 1e-6) -> Normalizer:
        """Scale by the standard deviation; a constant feature gets scale 1.

        Args:
            tolerance: what varies no more than this counts as constant.
        """
        floor = np.maximum(tolerance, 1e-6 * np.abs(mean))
        scale = np.where(std > floor, std, 1.0)
        return cls(np.asarray(mean, np.float32), np.asarray(scale, np.float32))

    @classmethod
    def identity(cls, shape: tuple[int, ...]) -> Normalizer:
        """Leave values as they are."""
        return cls(np.zeros(shape, np.float32), np.ones(shape, np.float32))

    def __call__(self, values: ArrayT) -> ArrayT:
        """Bring values, (..., *shape of the mean), into the model's units."""
        return (values - self.mean) / self.scale

    def invert(self, values: ArrayT) -> ArrayT:
        """Bring them back."""
        return values * self.scale + self.mean
