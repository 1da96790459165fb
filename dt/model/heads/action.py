"""How does a vector become an action of several parts? A head for its numbers, one for categories.

Each part is predicted from the same vector, independently of the others given the past.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from dt.config import HeadName
from dt.data.batches.windows import Action
from dt.model.heads import CategoriesHead, Sampling, make_number_head
from dt.model.recipe import Recipe


class Prediction(NamedTuple):
    """What the heads say of an action; None of a part that it does not have."""

    numbers: Any
    categories: Any


class ActionHead(nnx.Module):
    """The heads of an action's numbers and categories; their losses add up."""

    def __init__(
        self,
        width: int,
        bounded: tuple[bool, ...],
        counts: tuple[int, ...],
        recipe: Recipe,
        kind: HeadName = "deterministic",
        edges: Float[np.ndarray, "A K1"] | None = None,
        *,
        rngs: nnx.Rngs,
    ):
        """
        Args:
            bounded: of each number, whether -1 and 1 bound it.
            counts: of each category, how many values it can take.
            kind, edges: of the numbers' head, as `make_number_head` takes them.
        """
        self.num_numbers, self.counts = len(bounded), counts
        if bounded:
            self.numbers = make_number_head(
                kind, width, len(bounded), np.array(bounded), recipe, edges=edges, rngs=rngs
            )
        if counts:
            self.categories = CategoriesHead(width, counts, recipe, rngs=rngs)

    def __call__(self, vectors: Float[Array, "*b D"]) -> Prediction:
        return Prediction(
            self.numbers(vectors) if self.num_numbers else None,
            self.categories(vectors) if self.counts else None,
        )

    def loss(
        self, prediction: Prediction, actions: Action, key: Array | None = None
    ) -> Float[Array, "*b"]:
        """Of each step: the mean squared error of its numbers, plus the negative log-likelihood
        of its categories in nats."""
        losses = []
        if self.num_numbers:
            losses.append(self.numbers.loss(prediction.numbers, actions.numbers, key))
        if self.counts:
            losses.append(self.categories.loss(prediction.categories, actions.categories, key))
        return sum(losses[1:], losses[0])

    def act(self, prediction: Prediction, key: Array, sampling: Sampling) -> Action:
        """What is done, in the model's units; of one step."""
        numbers, categories = jnp.zeros(0), jnp.zeros(0, jnp.int32)
        number_key = category_key = key
        if self.num_numbers and self.counts:
            number_key, category_key = jax.random.split(key)
        if self.num_numbers:
            numbers = self.numbers.act(prediction.numbers, number_key, sampling)
        if self.counts:
            categories = self.categories.act(prediction.categories, category_key, sampling)
        return Action(numbers, categories)
