"""Scale numbers to the model's units, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dt.data.store.origins import FEW_FLOATS, NOISE, SMALLEST_SPREAD
from dt.spaces.arrays import ArrayT


@dataclass(frozen=True)
class Normalizer:
    """Shift and scale feature by feature, x -> (x - mean) / scale; of NumPy's and JAX's arrays.

    A feature that float32 cannot tell apart, such as seconds since 1970, is counted from an
    origin (see `dt.data.store.origins`): x stands for what was seen less the origin, which is taken
    off before rounding, by whoever has the number as it was.
    """

    mean: np.ndarray
    scale: np.ndarray
    origin: np.ndarray | None = None  # float64, of the mean's shape; None where all are 0

    @classmethod
    def of(
        cls,
        mean: np.ndarray,
        std: np.ndarray,
        tolerance: float = SMALLEST_SPREAD,
        origin: np.ndarray | None = None,
    ) -> Normalizer:
        """Scale by the standard deviation; a constant feature gets scale 1.

        Args:
            mean, std: of what was seen less the origin.
            tolerance: what varies no more than this counts as constant, and so does what varies
                by the rounding of float32 alone.
        """
        floor = np.maximum(tolerance, FEW_FLOATS * np.abs(mean))
        if origin is not None:
            floor = np.maximum(floor, NOISE * np.abs(origin))
        scale = np.where(std > floor, std, 1.0)
        return cls(np.asarray(mean, np.float32), np.asarray(scale, np.float32), origin)

    @classmethod
    def identity(cls, shape: tuple[int, ...], origin: np.ndarray | None = None) -> Normalizer:
        """Leave values as they are."""
        mean = np.zeros(shape, np.float32) if origin is None else -origin.astype(np.float32)
        return cls(mean, np.ones(shape, np.float32), origin)

    def __call__(self, values: ArrayT) -> ArrayT:
        """Bring values, (..., *shape of the mean), into the model's units."""
        return (values - self.mean) / self.scale

    def invert(self, values: ArrayT) -> ArrayT:
        """Bring them back."""
        return values * self.scale + self.mean

    def counted_from(self, origin: np.ndarray | None) -> Normalizer:
        """Make the same function of what was seen, for values that are counted from `origin`."""
        own, other = (np.zeros(self.mean.shape) if x is None else x for x in (self.origin, origin))
        if np.array_equal(own, other):
            return self
        mean = (self.mean.astype(np.float64) + own - other).astype(np.float32)
        return replace(self, mean=mean, origin=origin)
