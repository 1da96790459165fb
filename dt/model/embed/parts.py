"""Observations and actions as vectors: their numbers, categories and pictures, summed."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from dt.data.batches.windows import Action, Observation
from dt.model.embed.encoders import EncoderInputs, make_encoder
from dt.model.recipe import Recipe
from dt.spaces.parts import Leaf, Parts


class PartsEmbedding(nnx.Module):
    """Embeds numbers, categories and pictures in the sum of a vector of each."""

    def __init__(
        self,
        parts: Parts,
        width: int,
        recipe: Recipe,
        table: Callable[..., nnx.Embed],
        numbers: str = "linear",
        images: str = "convolutions",
        *,
        rngs: nnx.Rngs,
    ):
        """Make an embedding for each kind of part that there is.

        Args:
            table: makes the vectors of the categories' values, those of one after another's.
            numbers, images: names of encoders.
        """
        self.has_numbers = parts.num_numbers > 0
        if self.has_numbers:
            made_for = EncoderInputs((parts.num_numbers,), width, recipe)
            self.numbers = make_encoder(numbers, "numbers", made_for, rngs=rngs)
        self.firsts = tuple(np.cumsum([0, *parts.counts[:-1]]).tolist())
        self.has_categories = len(parts.counts) > 0
        if self.has_categories:
            self.categories = table(int(parts.counts.sum()), width, rngs=rngs)
        self.num_bytes = tuple(leaf.size for leaf in parts.images)
        if self.num_bytes:
            self.images = nnx.List(
                [
                    make_encoder(images, "images", _made_for(leaf, width, recipe), rngs=rngs)
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


def _made_for(leaf: Leaf, width: int, recipe: Recipe) -> EncoderInputs:
    """What the encoder of a picture is made for; the largest byte is 255 of most, but symbols may
    be fewer."""
    assert isinstance(leaf.space, gymnasium.spaces.Box)
    return EncoderInputs(leaf.shape, width, recipe, max(1, int(leaf.space.high.max())))
