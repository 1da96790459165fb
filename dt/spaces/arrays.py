"""Name the types of values that run on NumPy's and JAX's arrays alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

if TYPE_CHECKING:
    import jax

    ArrayT = TypeVar("ArrayT", np.ndarray, jax.Array)
else:  # JAX takes seconds to import, and whoever reads data alone never needs it
    ArrayT = TypeVar("ArrayT")

# Values of a space, one or B of each: an array, records, or dictionaries and tuples of arrays.
Tree: TypeAlias = Any
