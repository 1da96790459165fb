"""The reward model: the language model, told no return, and one number read off a text's tokens.

Axes: B texts, L tokens.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.config.language_model import LanguageModelConfig
from dt.model.layers import Linear
from dt.text.model.language_model import LanguageModel


class RewardModel(nnx.Module):
    """Scores a text, given what it answers."""

    def __init__(self, config: LanguageModelConfig, *, rngs: nnx.Rngs):
        self.language = LanguageModel(config, rngs=rngs)
        zeros = nnx.initializers.zeros_init()  # at first every text scores alike
        self.score = Linear(config.width, 1, kernel_init=zeros, rngs=rngs)

    def __call__(
        self,
        tokens: Int[Array, "B L"],
        own: Bool[Array, "B L"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, " B"]:
        """Score texts, in the model's units: the mean of what is read at their own tokens.

        The mean, for of few texts less can be learned at the last token alone.

        Args:
            own: tokens of the text itself and not of its prompt; padding stands last.
            rngs: for dropout; without them the model is deterministic.
        """
        hidden = self.language(tokens, rngs=rngs)
        weights = own / jnp.maximum(own.sum(axis=1, keepdims=True), 1)
        return self.score(jnp.einsum("bld,bl->bd", hidden, weights))[:, 0]


def abstract_reward_model(config: LanguageModelConfig) -> RewardModel:
    """Make the model's structure, with shapes in place of weights."""
    return nnx.eval_shape(lambda: RewardModel(config, rngs=nnx.Rngs(0)))
