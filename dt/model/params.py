"""A model's parameters: the type, its arrays as a pytree without the structure, and their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import TYPE_CHECKING, TypeAlias

import jax
import numpy as np
from flax import nnx

if TYPE_CHECKING:
    Params: TypeAlias = nnx.State[Hashable, object]
else:  # beartype warns of what nnx.State itself is annotated with
    Params: TypeAlias = object


def weights_hash(params: Params) -> str:
    """Hash all numbers of a model, in their order: the same weights have the same hash."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        array = np.asarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
