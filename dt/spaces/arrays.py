"""Name the array types of code that runs on NumPy's and JAX's arrays alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import jax

    ArrayT = TypeVar("ArrayT", np.ndarray, jax.Array)
else:  # JAX takes seconds to import, and whoever reads data alone never needs it
    ArrayT = TypeVar("ArrayT")
