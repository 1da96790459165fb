"""How does a vector become an action, and what does a wrong one cost?"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from dt.model.recipe import Recipe


class ContinuousHead(nnx.Module):
    """One action vector; tanh for a bounded space; squared error (Chen et al. 2021)."""

    def __init__(
        self, width: int, action_dim: int, bounded: bool, recipe: Recipe, *, rngs: nnx.Rngs
    ):
        self.bounded = bounded
        self.out = recipe.linear(width, action_dim, rngs=rngs)

    def __call__(self, vectors: Float[Array, "*b D"]) -> Float[Array, "*b A"]:
        actions = self.out(vectors)
        return jnp.tanh(actions) if self.bounded else actions

    def loss(
        self, prediction: Float[Array, "*b A"], actions: Float[Array, "*b A"]
    ) -> Float[Array, "*b"]:
        """Mean squared error of each step, in the model's units."""
        return jnp.square(prediction - actions).mean(axis=-1)

    def act(
        self, prediction: Float[Array, "*b A"], key: Array, deterministic: bool
    ) -> Float[Array, "*b A"]:
        del key, deterministic  # the head has no spread to sample from
        return prediction


class CategoricalHead(nnx.Module):
    """Logits over discrete actions; cross-entropy."""

    def __init__(self, width: int, action_dim: int, recipe: Recipe, *, rngs: nnx.Rngs):
        self.out = recipe.linear(width, action_dim, rngs=rngs)

    def __call__(self, vectors: Float[Array, "*b D"]) -> Float[Array, "*b A"]:
        return self.out(vectors)

    def loss(
        self, prediction: Float[Array, "*b A"], actions: Int[Array, "*b"]
    ) -> Float[Array, "*b"]:
        """Negative log-likelihood of each step, in nats."""
        log_probabilities = jax.nn.log_softmax(prediction)
        return -jnp.take_along_axis(log_probabilities, actions[..., None], axis=-1)[..., 0]

    def act(
        self, prediction: Float[Array, " A"], key: Array, deterministic: bool
    ) -> Int[Array, ""]:
        """Sample by the probabilities, or take the likeliest."""
        if deterministic:
            return jnp.argmax(prediction, axis=-1).astype(jnp.int32)
        return jax.random.categorical(key, prediction).astype(jnp.int32)
