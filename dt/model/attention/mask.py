"""Who sees whom: tokens see those before them of the last timesteps, and all of a prefix.

Axes: B batch, T timesteps, Q queries, K keys, P tokens of a prefix, D width, H heads, d head size.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Prefix(NamedTuple):
    """Tokens that stand before a sequence, seen by all of it and by each other in order."""

    vectors: Float[Array, "B P D"]
    real: Bool[Array, "B P"]  # those that are there


class Before(NamedTuple):
    """The same in one layer: what every query sees besides its window."""

    keys: Float[Array, "B P H d"]
    values: Float[Array, "B P H d"]
    real: Bool[Array, "B P"]


class Reach(NamedTuple):
    """A token sees those before it, and itself, of its own and the last `window` - 1 timesteps."""

    window: int
    tokens_per_step: int

    def mask(
        self, queries: Int[np.ndarray, " Q"], keys: Int[np.ndarray, " K"]
    ) -> Bool[np.ndarray, "Q K"]:
        """Whether the token at one position sees that at another."""
        n, q, k = self.tokens_per_step, queries[:, None], keys[None, :]
        return (k <= q) & (k // n > q // n - self.window)


def attention_mask(
    reach: Reach,
    queries: Int[np.ndarray, " Q"],
    num_keys: int,
    real: Bool[Array, "B T"] | None,
    before: Before | None,
) -> Bool[Array, "b Q M"]:
    """Whether each query sees each key, of the prefix's and then of the sequence's `num_keys`.

    Its first axis is one where all rows of the batch see the same.
    """
    keys = np.arange(num_keys)
    allowed = jnp.asarray(reach.mask(queries, keys))[None]  # (1, Q, K)
    if real is not None:
        itself = queries[:, None] == keys  # so that no softmax is empty
        allowed = (allowed & jnp.repeat(real, reach.tokens_per_step, axis=1)[:, None]) | itself
    if before is not None:
        rows, count = before.real.shape
        seen = jnp.broadcast_to(before.real[:, None], (rows, len(queries), count))
        allowed = jnp.broadcast_to(allowed, (rows, *allowed.shape[1:]))
        allowed = jnp.concatenate([seen, allowed], axis=2)
    return allowed
