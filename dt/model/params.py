"""The type of a model's parameters: its arrays as a pytree, without the model's structure."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, TypeAlias

from flax import nnx

if TYPE_CHECKING:
    Params: TypeAlias = nnx.State[Hashable, object]
else:  # beartype warns of what nnx.State itself is annotated with
    Params: TypeAlias = object
