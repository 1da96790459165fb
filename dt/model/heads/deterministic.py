"""The head of one action vector, learned by squared error."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from dt.model.heads.guidance import extrapolate
from dt.model.heads.kind import HeadKind
from dt.model.heads.sampling import Sampling
from dt.model.recipe import Recipe


class DeterministicHead(nnx.Module):
    """One action vector; tanh where the space is bounded; squared error (Chen et al. 2021)."""

    def __init__(
        self,
        width: int,
        action_dim: int,
        bounded: bool | Bool[np.ndarray, " A"],
        recipe: Recipe,
        *,
        rngs: nnx.Rngs,
    ):
        """
        Args:
            bounded: of all numbers, or of each: whether its space is [-1, 1] in the model's units.
        """
        self.bounded = tuple(np.broadcast_to(bounded, (action_dim,)).tolist())
        self.out = recipe.linear(width, action_dim, rngs=rngs)

    def __call__(self, vectors: Float[Array, "*b D"]) -> Float[Array, "*b A"]:
        actions = self.out(vectors)
        return jnp.where(np.array(self.bounded), jnp.tanh(actions), actions)

    def loss(
        self,
        prediction: Float[Array, "*b A"],
        actions: Float[Array, "*b A"],
        key: Array | None = None,
    ) -> Float[Array, "*b"]:
        """Compute the mean squared error of each step, in the model's units."""
        del key
        return jnp.square(prediction - actions).mean(axis=-1)

    def act(
        self, prediction: Float[Array, "*b A"], key: Array, sampling: Sampling
    ) -> Float[Array, "*b A"]:
        del key, sampling  # the head has no spread to sample from
        return prediction

    def guide(
        self,
        conditional: Float[Array, "*b A"],
        unconditional: Float[Array, "*b A"],
        weight: Float[Array, "*b 1"],
    ) -> Float[Array, "*b A"]:
        """Extrapolate the action, and keep it inside the space; there is no density to weigh."""
        action = extrapolate(conditional, unconditional, weight)
        return jnp.where(np.array(self.bounded), jnp.clip(action, -1.0, 1.0), action)


DETERMINISTIC = HeadKind(
    "deterministic",
    lambda made_for, rngs: DeterministicHead(
        made_for.width, made_for.num_numbers, made_for.bounded, made_for.recipe, rngs=rngs
    ),
)
