"""Recipes: the details in which models of the same tokens, width and depth differ, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
from flax import nnx
from jaxtyping import Array

from dt.config import ModelConfig, RecipeName
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
    # How initial weights are drawn: by the layer's size; as PyTorch and GPT-2 draw them in Chen et
    # al.'s gym code; or all from one normal distribution, as in their Atari code (minGPT).
    weights: Literal["scaled", "pytorch", "normal"]
    squashed: bool = False  # tanh of the vectors of returns and actions
    embedding_norm: bool = True  # a LayerNorm on every token
    # A learned vector for each place of a window, and the timestep's of the window's first step for
    # all of it; False: each step's own timestep.
    places: bool = False

    def linear(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> Linear:
        """Make a layer of the embeddings or the heads."""
        if self.weights != "pytorch":
            return self.block_linear(inputs, outputs, rngs=rngs)
        within = uniform_within(inputs**-0.5)  # biases too: PyTorch's default
        return Linear(inputs, outputs, kernel_init=within, bias_init=within, rngs=rngs)

    def block_linear(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> Linear:
        """Make a layer of the transformer's blocks."""
        if self.weights == "scaled":
            return Linear(inputs, outputs, rngs=rngs)
        return Linear(inputs, outputs, kernel_init=EMBEDDING_INIT, rngs=rngs)

    def table(self, rows: int, width: int, *, rngs: nnx.Rngs) -> nnx.Embed:
        """Make one learned vector for each of `rows` numbers."""
        if self.weights == "scaled":
            return nnx.Embed(rows, width, rngs=rngs)
        init = EMBEDDING_INIT if self.weights == "normal" else nnx.initializers.normal(1.0)
        return nnx.Embed(rows, width, embedding_init=init, rngs=rngs)

    def norm(self, width: int, *, rngs: nnx.Rngs) -> LayerNorm:
        """Make a LayerNorm of vectors of this width."""
        return LayerNorm(width, epsilon=self.epsilon, rngs=rngs)


_RECIPES: dict[RecipeName, Recipe] = {
    "default": Recipe(
        number_waves=True,
        timestep_waves=True,
        hidden_returns=True,
        token_kinds=True,
        activation=jax.nn.gelu,
        epsilon=1e-6,
        attention_dropout=False,
        cached=True,
        weights="scaled",
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
        weights="pytorch",
    ),
    # The paper's Atari model, which is minGPT's.
    "atari-chen2021": Recipe(
        number_waves=False,
        timestep_waves=False,
        hidden_returns=False,
        token_kinds=False,
        activation=partial(jax.nn.gelu, approximate=False),
        epsilon=1e-5,
        attention_dropout=True,
        cached=False,
        weights="normal",
        squashed=True,
        embedding_norm=False,
        places=True,
    ),
}


def recipe_of(config: ModelConfig) -> Recipe:
    """Look up the recipe that `model.recipe` names."""
    return _RECIPES[config.recipe]


def uniform_within(bound: float) -> nnx.Initializer:
    """Draw initial values uniformly from -bound to bound."""
    below = nnx.initializers.uniform(2 * bound)
    return lambda *args: below(*args) - bound
