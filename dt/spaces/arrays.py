"""Name the types of arrays, and of what holds several, in code for NumPy's and JAX's alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

if TYPE_CHECKING:
    import jax

    ArrayT = TypeVar("ArrayT", np.ndarray, jax.Array)
else:  # JAX takes seconds to import, and whoever reads data alone never needs it
    ArrayT = TypeVar("ArrayT")

AnyArray: TypeAlias = Any  # NumPy's or JAX's, where it does not follow from one argument which
Tree: TypeAlias = Any  # an array, records, or a dictionary or tuple of trees
