"""A way to compute attention: its name, when it applies, and the function."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dt.model.attention.mask import Before, Reach

Drop: TypeAlias = Callable[[Array], Array]


@dataclass(frozen=True)
class Whole:
    """A `Drop` that is to see the weights of all pairs at once, (B, H, Q, K), not in pieces."""

    of_weights: Drop

    def __call__(self, weights: Float[Array, "B H Q K"]) -> Float[Array, "B H Q K"]:
        return self.of_weights(weights)


class Inputs(NamedTuple):
    """What attention is computed from: queries, keys and values, and who sees whom.

    Axes: B batch, T timesteps, n tokens a timestep, Q queries, K = T * n keys, H heads, d head
    size.
    """

    q: Float[Array, "B Q H d"]
    k: Float[Array, "B K H d"]
    v: Float[Array, "B K H d"]
    # Timesteps that are not padding, which nobody real sees; what comes out for padding itself is
    # finite and means nothing. None: there is none, or it stands last, where causality hides it.
    real: Bool[Array, "B T"] | None
    reach: Reach
    # Positions of the queries among the keys; the same in every timestep, or few.
    queries: Int[np.ndarray, " Q"]
    drop: Drop | None = None  # leaves out some of the weights, or changes them
    before: Before | None = None  # what all queries see, wherever they stand

    def with_before(self) -> tuple[Array, Array]:
        """All keys and all values, (B, P + K, H, d): the prefix's stand before the sequence's."""
        if self.before is None:
            return self.k, self.v
        keys, values = self.before.keys, self.before.values
        return jnp.concatenate([keys, self.k], axis=1), jnp.concatenate([values, self.v], axis=1)


@dataclass(frozen=True)
class Way:
    """One implementation of attention; all ways compute the same function."""

    name: str
    takes: Callable[[Inputs], bool]  # whether it computes this, on the device that there is
    attend: Callable[[Inputs], Array]  # what each query sees, weighed by softmax: (B, Q, H, d)


def first_that_takes(ways: Iterable[Way], inputs: Inputs) -> Way:
    """The first of several ways that computes this."""
    return next(way for way in ways if way.takes(inputs))
