"""The head of choices among categories, learned by cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from dt.model.heads.guidance import GuidedLogits
from dt.model.heads.sampling import Sampling, draw
from dt.model.recipe import Recipe


class CategoriesHead(GuidedLogits, nnx.Module):
    """Logits over several categories of a step at once, sizes (n_1 .. n_C); cross-entropy."""

    def __init__(self, width: int, sizes: Sequence[int], recipe: Recipe, *, rngs: nnx.Rngs):
        self.sizes = tuple(int(size) for size in sizes)
        self.out = recipe.linear(width, sum(self.sizes), rngs=rngs)

    def __call__(self, vectors: Float[Array, "*b D"]) -> Float[Array, "*b P"]:
        """Predict the logits of all categories side by side, P = n_1 + .. + n_C."""
        return self.out(vectors)

    def log_prob(
        self, prediction: Float[Array, "*b P"], categories: Int[Array, "*b C"]
    ) -> Float[Array, "*b"]:
        """Sum the log-probabilities of all C, in nats; they are independent given the past."""
        log_probabilities = jax.nn.log_softmax(self._logits(prediction))
        own = jnp.take_along_axis(log_probabilities, categories[..., None], axis=-1)
        return own[..., 0].sum(axis=-1)

    def probabilities(self, prediction: Float[Array, "*b P"]) -> Float[Array, "*b C n"]:
        """Compute those of each category's values; 0 beyond a shorter one's."""
        return jax.nn.softmax(self._logits(prediction))

    def loss(
        self,
        prediction: Float[Array, "*b P"],
        categories: Int[Array, "*b C"],
        key: Array | None = None,
    ) -> Float[Array, "*b"]:
        """Compute the negative log-likelihood of each step, in nats, summed over the C."""
        del key
        return -self.log_prob(prediction, categories)

    def act(
        self, prediction: Float[Array, "*b P"], key: Array, sampling: Sampling
    ) -> Int[Array, "*b C"]:
        return draw(self._logits(prediction), key, sampling)

    def _logits(self, prediction: Float[Array, "*b P"]) -> Float[Array, "*b C n"]:
        """One row a category; shorter ones are filled with minus infinity, which nothing draws."""
        num, most = len(self.sizes), max(self.sizes)
        if min(self.sizes) == most:
            return prediction.reshape(*prediction.shape[:-1], num, most)
        place = np.arange(most)
        real = place < np.array(self.sizes)[:, None]
        starts = np.cumsum([0, *self.sizes[:-1]])
        columns = np.where(real, starts[:, None] + place, 0)
        return jnp.where(real, prediction[..., columns], -jnp.inf)
