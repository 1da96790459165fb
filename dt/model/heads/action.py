"""The head of an action of several parts: a head for its numbers, one for its categories.

Each part is predicted from the same vector, independently of the others given the past.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from dt.data.batches.windows import Action
from dt.model.heads import (
    CategoriesHead,
    GuidableHead,
    Head,
    HeadInputs,
    Sampling,
    make_number_head,
)
from dt.model.recipe import Recipe
from dt.spaces.arrays import AnyArray
from dt.spec.spec import PolicySpec

NO_CATEGORY = -1


class Prediction(NamedTuple):
    """What the heads say of an action; None of a part that it does not have."""

    numbers: Float[Array, "*b P"] | None
    categories: Float[Array, "*b Q"] | None


class ActionHead(nnx.Module):
    """The heads of an action's numbers and categories; their losses add up."""

    def __init__(self, spec: PolicySpec, recipe: Recipe, *, rngs: nnx.Rngs):
        """Make a head for each kind of part that an action has.

        Raises:
            ValueError: as `make_number_head` does.
        """
        width, bounded = spec.model.width, spec.bounded
        self.num_numbers, self.counts = len(bounded), spec.action_counts
        if bounded:
            made_for = HeadInputs(width, np.array(bounded), recipe, spec.action_edges)
            self.numbers: Head = make_number_head(spec.model.head, made_for, rngs=rngs)
        if self.counts:
            self.categories = CategoriesHead(width, self.counts, recipe, rngs=rngs)

    def __call__(self, vectors: Float[Array, "*b D"]) -> Prediction:
        return Prediction(
            self.numbers(vectors) if self.num_numbers else None,
            self.categories(vectors) if self.counts else None,
        )

    def loss(
        self, prediction: Prediction, actions: Action, key: Array | None = None
    ) -> Float[Array, "*b"]:
        """Add the losses of each step's numbers and of its categories."""
        losses = []
        if prediction.numbers is not None:
            losses.append(self.numbers.loss(prediction.numbers, actions.numbers, key))
        if prediction.categories is not None:
            losses.append(self.categories.loss(prediction.categories, actions.categories, key))
        return sum(losses[1:], losses[0])

    @property
    def is_guidable(self) -> bool:
        """Whether all parts can be guided; a head from elsewhere may not know how."""
        return not self.num_numbers or isinstance(self.numbers, GuidableHead)

    def guide(
        self, conditional: Prediction, unconditional: Prediction, weight: Float[Array, "*b"]
    ) -> Prediction:
        """Draw apart what is predicted with and without the condition, by a weight a step.

        Raises:
            ValueError: for a head of numbers that has no `guide`.
        """
        if not self.is_guidable:
            raise ValueError(
                f"head {type(self.numbers).__name__} cannot be guided: it has no method `guide`"
            )
        numbers, categories = unconditional
        if conditional.numbers is not None and numbers is not None:
            assert isinstance(self.numbers, GuidableHead)
            numbers = self.numbers.guide(conditional.numbers, numbers, weight[..., None])
        if conditional.categories is not None and categories is not None:
            categories = self.categories.guide(
                conditional.categories, categories, weight[..., None]
            )
        return Prediction(numbers, categories)

    def act(self, prediction: Prediction, key: Array, sampling: Sampling) -> Action:
        """Take the action of one step, in the model's units.

        A prediction that is not finite means nothing, whatever a tanh or an argmax makes of it: its
        numbers are then NaN and its categories NO_CATEGORY, which no space holds.
        """
        numbers, categories = jnp.zeros(0), jnp.zeros(0, jnp.int32)
        number_key = category_key = key
        if self.num_numbers and self.counts:
            number_key, category_key = jax.random.split(key)
        if prediction.numbers is not None:
            numbers = self.numbers.act(prediction.numbers, number_key, sampling)
            numbers = jnp.where(_computed(prediction.numbers), numbers, jnp.nan)
        if prediction.categories is not None:
            categories = self.categories.act(prediction.categories, category_key, sampling)
            categories = jnp.where(_computed(prediction.categories), categories, NO_CATEGORY)
        return Action(numbers, categories)


def could_be_computed(actions: Action) -> Bool[AnyArray, " B"]:
    """Tell the rows whose action `ActionHead.act` could choose; NumPy's arrays, or JAX's."""
    xp = actions.numbers.__array_namespace__()
    return xp.isfinite(actions.numbers).all(axis=-1) & (actions.categories >= 0).all(axis=-1)


def _computed(prediction: Float[Array, "*b P"]) -> Bool[Array, "*b 1"]:
    return jnp.isfinite(prediction).all(axis=-1, keepdims=True)
