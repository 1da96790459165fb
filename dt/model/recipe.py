"""In which details do models of the same tokens, width and depth differ? Recipes, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
from flax import nnx
from jaxtyping import Array

from dt.config import ModelConfig
from dt.model.layers import LayerNorm, Linear

EMBEDDING_INIT = nnx.initializers.normal(0.02)


@dataclass(frozen=True)
class Recipe:
    """What the modules of the model ask for where recipes differ."""

    number_waves: bool  # observed numbers as waves too; False: one linear map
    timestep_waves: bool  # timesteps as waves of many lengths; False: a learned table
    # Returns through a hidden layer, and a null token for none; False: one linear map, no null.
    hidden_returns: bool
    token_kinds: bool  # a learned vector for each token of a step
    activation: Callable[[Array], Array]
    epsilon: float  # of every LayerNorm
    attention_dropout: bool  # also of the attention's weights
    # Attention within windows of segments, which a ring cache continues exactly; False: over the
    # whole segment, and to act the last context_length timesteps are computed anew at each step.
    cached: bool
    pytorch_weights: bool  # initial weights as Chen et al.'s code draws them

    def linear(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> Linear:
        """A layer of the embeddings and the heads."""
        if not self.pytorch_weights:
            return Linear(inputs, outputs, rngs=rngs)
        within = uniform_within(inputs**-0.5)  # biases too: PyTorch's default
        return Linear(inputs, outputs, kernel_init=within, bias_init=within, rngs=rngs)

    def block_linear(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> Linear:
        """A layer of the transformer's blocks."""
        if not self.pytorch_weights:
            return Linear(inputs, outputs, rngs=rngs)
        return Linear(inputs, outputs, kernel_init=nnx.initializers.normal(0.02), rngs=rngs)

    def table(self, rows: int, width: int, *, rngs: nnx.Rngs) -> nnx.Embed:
        """One learned vector for each of `rows` numbers."""
        if not self.pytorch_weights:
            return nnx.Embed(rows, width, rngs=rngs)
        return nnx.Embed(rows, width, embedding_init=nnx.initializers.normal(1.0), rngs=rngs)

    def norm(self, width: int, *, rngs: nnx.Rngs) -> LayerNorm:
        return LayerNorm(width, epsilon=self.epsilon, rngs=rngs)


_RECIPES = {
    "default": Recipe(
        number_waves=True,
        timestep_waves=True,
        hidden_returns=True,
        token_kinds=True,
        activation=jax.nn.gelu,
        epsilon=1e-6,
        attention_dropout=False,
        cached=True,
        pytorch_weights=False,
    ),
    # The paper's gym model as its authors published it: GPT-2 without its own positions.
    "chen2021": Recipe(
        number_waves=False,
        timestep_waves=False,
        hidden_returns=False,
        token_kinds=False,
        activation=jax.nn.relu,
        epsilon=1e-5,
        attention_dropout=True,
        cached=False,
        pytorch_weights=True,
    ),
}


def recipe_of(config: ModelConfig) -> Recipe:
    return _RECIPES[config.recipe]


def uniform_within(bound: float) -> nnx.Initializer:
    """Initial values from -bound to bound."""
    below = nnx.initializers.uniform(2 * bound)
    return lambda *args: below(*args) - bound
