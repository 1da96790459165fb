"""How do observations, actions, returns and timesteps become vectors?"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.data.windows import Batch
from dt.model.layers import Linear
from dt.model.recipe import EMBEDDING_INIT, Recipe
from dt.model.tokens import TokenLayout


class ReturnEmbedding(nnx.Module):
    """A return and when it is asked for -> a vector, or the learned null vector for no return.

    One hidden layer whose kinks are spread over the data's range (a normalised return is mostly
    within +-2), so that returns 10 % apart can get unlike vectors; a single linear map cannot
    tell them apart once the layer norms have removed its length. The time stands beside the
    return, as the same return to go is much to ask for late in an episode and little early on.
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        spread = nnx.initializers.uniform(6.0)  # biases in [0, 6), shifted to [-3, 3) below
        self.hidden = Linear(
            2,
            width,
            kernel_init=nnx.initializers.normal(2.0),
            bias_init=lambda *args: spread(*args) - 3.0,
            rngs=rngs,
        )
        self.out = Linear(width, width, rngs=rngs)
        self.null = nnx.Param(EMBEDDING_INIT(rngs.params(), (width,)))

    def __call__(
        self, returns: Float[Array, "*b"], time: Float[Array, "*b"], is_null: Bool[Array, "*b"]
    ) -> Float[Array, "*b D"]:
        """`time` is from -2 at the start of an episode to 2 at the longest one's end."""
        vectors = self.out(jax.nn.gelu(self.hidden(jnp.stack([returns, time], axis=-1))))
        return jnp.where(is_null[..., None], self.null[...], vectors)


class TimestepEmbedding(nnx.Module):
    """A timestep -> a vector that changes smoothly with it, yet tells neighbours apart.

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


class Embed(nnx.Module):
    """A batch of timesteps -> the token vectors of each, in the layout's order."""

    def __init__(
        self,
        layout: TokenLayout,
        observation_dim: int,
        action_dim: int,
        discrete: bool,
        width: int,
        max_timesteps: int,
        recipe: Recipe,
        *,
        rngs: nnx.Rngs,
    ):
        self.layout = layout
        self.max_timesteps = max_timesteps
        self.observation = recipe.linear(observation_dim, width, rngs=rngs)
        self.action: Linear | nnx.Embed
        if discrete:
            self.action = recipe.table(action_dim, width, rngs=rngs)
        else:
            self.action = recipe.linear(action_dim, width, rngs=rngs)
        self.returns: ReturnEmbedding | Linear
        if layout.conditional and recipe.hidden_returns:
            self.returns = ReturnEmbedding(width, rngs=rngs)
        elif layout.conditional:
            self.returns = recipe.linear(1, width, rngs=rngs)
        self.has_kinds = recipe.token_kinds
        if recipe.token_kinds:
            self.kind = nnx.Param(EMBEDDING_INIT(rngs.params(), (layout.tokens_per_step, width)))
        self.timestep: TimestepEmbedding | nnx.Embed
        if recipe.timestep_waves:
            self.timestep = TimestepEmbedding(max_timesteps, width, rngs=rngs)
        else:
            self.timestep = recipe.table(max_timesteps, width, rngs=rngs)
        self.norm = recipe.norm(width, rngs=rngs)

    def __call__(self, batch: Batch, null_returns: Bool[Array, " B"]) -> Float[Array, "B T n D"]:
        """One vector for each of the n tokens of a step.

        Args:
            null_returns: rows whose returns are replaced by the null token, if there is one.
        """
        vectors = {
            "observation": self.observation(batch.observations),
            "action": self.action(batch.actions),
        }
        if self.layout.conditional:
            if isinstance(self.returns, Linear):
                vectors["return"] = self.returns(batch.returns_to_go[..., None])
            else:
                is_null = jnp.broadcast_to(null_returns[:, None], batch.returns_to_go.shape)
                time = batch.timesteps * (4.0 / self.max_timesteps) - 2.0
                vectors["return"] = self.returns(batch.returns_to_go, time, is_null)
        tokens = jnp.stack([vectors[name] for name in self.layout.step], axis=2)
        if self.has_kinds:
            tokens = tokens + self.kind[...]
        return self.norm(tokens + self.timestep(batch.timesteps)[:, :, None])
