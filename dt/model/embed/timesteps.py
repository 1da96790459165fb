"""Timesteps as vectors: waves of many lengths."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from dt.model.layers import Linear


class TimestepEmbedding(nnx.Module):
    """Embeds a timestep in a vector that changes smoothly with it, yet tells neighbours apart.

    Waves of geometric lengths, from 4 steps to four times the longest episode (as in Vaswani et
    al. 2017, 3.5), and a linear map of them. A learned table of one vector a timestep, as in Chen
    et al. 2021, fits each timestep to the few episodes that are at it: neighbours' vectors come
    out unrelated, and on Hopper the agent fell at the same timesteps in every episode.
    """

    def __init__(self, max_timesteps: int, width: int, *, rngs: nnx.Rngs):
        self.lengths = tuple(
            np.geomspace(4.0, 4.0 * max(max_timesteps, 2), max(1, width // 2)).tolist()
        )
        self.out = Linear(2 * len(self.lengths), width, rngs=rngs)

    def __call__(self, timesteps: Int[Array, "*b"]) -> Float[Array, "*b D"]:
        phase = timesteps[..., None] * (2 * np.pi / np.asarray(self.lengths, np.float32))
        return self.out(jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], axis=-1))
