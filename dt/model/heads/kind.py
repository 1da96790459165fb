"""What a head of an action's numbers is: its methods, and the record that makes one by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from dt.model.heads.sampling import Sampling
from dt.model.recipe import Recipe
from dt.spec.bins import placement_of


@runtime_checkable
class Head(Protocol):
    """Maps vectors (..., D) to P numbers of its own, (..., P), which its other methods read.

    They are finite: where one is not, no action is taken from them. A head is an `nnx.Module`; axes
    before the last are any. One that has a likelihood has also `log_prob(prediction, actions)`; one
    that guidance can be computed for is a `GuidableHead`.
    """

    def __call__(self, vectors: Float[Array, "*b D"], /) -> Float[Array, "*b P"]:
        """Predict from vectors."""

    def loss(
        self,
        prediction: Float[Array, "*b P"],
        actions: Float[Array, "*b A"],
        key: Array | None = None,
        /,
    ) -> Float[Array, "*b"]:
        """Compute what a wrong prediction costs at each step; a loss may draw by the key."""

    def act(
        self, prediction: Float[Array, "*b P"], key: Array, sampling: Sampling, /
    ) -> Float[Array, "*b A"]:
        """Take actions, in the model's units."""


@runtime_checkable
class GuidableHead(Protocol):
    """A head whose predictions with and without the condition can be drawn apart."""

    def guide(
        self,
        conditional: Float[Array, "*b P"],
        unconditional: Float[Array, "*b P"],
        weight: Float[Array, "*b 1"],
        /,
    ) -> Float[Array, "*b P"]:
        """Predict u + w (c - u), as `dt.model.heads.guidance` has it: 0 gives u, 1 gives c."""


@dataclass(frozen=True)
class HeadInputs:
    """What a head of A numbers is made for."""

    width: int  # of the vectors that it reads
    bounded: Bool[np.ndarray, " A"]  # of each number: whether its space is [-1, 1] (model's units)
    recipe: Recipe  # makes its layers
    edges: Float[np.ndarray, "E K1"] | None = None  # of bins: a row a number, for kinds with bins

    @property
    def num_numbers(self) -> int:
        return len(self.bounded)


@dataclass(frozen=True)
class HeadKind:
    """A value of `model.head`, and the head that it stands for.

    Raises:
        ValueError: for a kind that needs edges, whose name does not say how they are placed.
    """

    name: str
    make: Callable[[HeadInputs, nnx.Rngs], Head]
    needs_edges: bool = False  # of bins of each number, which the data decide: see `placement_of`

    def __post_init__(self) -> None:
        if self.needs_edges and placement_of(self.name) is None:
            raise ValueError(
                f"head {self.name!r} needs edges of bins; end its name in -uniform or -quantile, "
                f"which says how they are placed"
            )
