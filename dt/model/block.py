"""One layer of the transformer: attention and an MLP, each added to the residual stream.

Axes: B batch, L tokens, R tokens whose outputs are computed, D width, H heads, d head size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from dt.config import ModelConfig
from dt.model.attention.way import Drop, Whole
from dt.model.dropout import dropout_in_training
from dt.model.layers import Linear
from dt.model.points import BlockPoints
from dt.model.recipe import recipe_of

Modulation: TypeAlias = tuple[Array, Array] | None  # scale and shift of a norm's output
Memory = TypeVar("Memory")
# Queries (B, R, H, d), keys and values (B, L, H, d), and the dropout of attention weights -> what
# each query attends to, (B, R, H, d), and what of the keys and values is to be remembered.
Attend: TypeAlias = Callable[[Array, Array, Array, Drop | None], tuple[Array, Memory]]


class Attention(nnx.Module):
    """The linear maps into and out of the heads; a block is given the way to attend."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        recipe = recipe_of(config)
        self.num_heads = config.num_heads
        self.qkv = recipe.block_linear(config.width, 3 * config.width, rngs=rngs)
        self.out = recipe.block_linear(config.width, config.width, rngs=rngs)
        self.dropout = config.dropout if recipe.attention_dropout else 0.0

    def project(self, x: Float[Array, "B L D"]) -> tuple[Array, Array, Array]:
        """Compute queries, keys and values, each (B, L, H, D / H).

        A head's three stand together, so that a device that has some of the columns (the mesh's
        axis `model`) has all of some heads.
        """
        heads = self.qkv(x).reshape(*x.shape[:2], self.num_heads, 3, -1)
        return heads[:, :, :, 0], heads[:, :, :, 1], heads[:, :, :, 2]

    def on_weights(self, rngs: nnx.Rngs | None, points: BlockPoints | None) -> Drop | None:
        """What happens to attention weights: dropout, or what is read and edited there."""
        if points is not None and points.touches("attention.weights"):
            return Whole(partial(points.at, "attention.weights", axis=2))
        if rngs is None or not self.dropout:
            return None
        return partial(dropout_in_training, rate=self.dropout, rngs=rngs)


class Block(nnx.Module):
    """Pre-norm attention and MLP, each with dropout on its way into the residual stream."""

    def __init__(self, config: ModelConfig, attends: bool = True, *, rngs: nnx.Rngs):
        """Make the layers; with conditioning 'adaln' a condition modulates the norms' outputs.

        The condition scales and shifts them (Peebles and Xie 2023, adaLN); at first not at all.

        Args:
            attends: False where a token has nobody but itself to attend to; a block is then a
                residual layer of an MLP.
        """
        recipe, width = recipe_of(config), config.width
        self.adaptive = config.conditioning == "adaln"
        if self.adaptive:
            zeros = nnx.initializers.zeros_init()
            self.modulation = Linear(width, 4 * width, kernel_init=zeros, rngs=rngs)
        self.attends = attends
        if attends:
            self.norm_attention = recipe.norm(width, rngs=rngs)
            self.attention = Attention(config, rngs=rngs)
        self.norm_mlp = recipe.norm(width, rngs=rngs)
        self.expand = recipe.block_linear(width, 4 * width, rngs=rngs)
        self.contract = recipe.block_linear(4 * width, width, rngs=rngs)
        self.activation = recipe.activation
        self.dropout = config.dropout

    def __call__(
        self,
        x: Float[Array, "B L D"],
        attend: Attend[Memory],
        condition: Float[Array, "B L D"] | None = None,
        read: slice | Int[np.ndarray, " R"] | None = None,
        rngs: nnx.Rngs | None = None,
        points: BlockPoints | None = None,
    ) -> tuple[Float[Array, "B R D"], Memory | None]:
        """Compute the outputs of all tokens, or only of those at `read`, and what `attend` keeps.

        Args:
            attend: what a query attends to; not called where the block does not attend.
            condition: of each token, where the block is adaptive.
            read: positions of tokens; nobody reads the others' outputs of the last block.
            rngs: for dropout; without them the block is deterministic.
            points: what is read and edited here; such a block computes the outputs of all tokens.
        """
        for_attention, for_mlp = self._modulations(condition)
        kept = None
        if self.attends:
            q, k, v = self.attention.project(_modulated(self.norm_attention(x), for_attention))
            if read is not None:
                x, q = x[:, read], q[:, read]
                for_mlp = jax.tree.map(lambda m: m[:, read], for_mlp)
            mixed, kept = attend(q, k, v, self.attention.on_weights(rngs, points))
            mixed = _at(points, "attention.heads", mixed)
            mixed = _at(points, "attention.out", self.attention.out(mixed.reshape(x.shape)))
            x = x + dropout_in_training(mixed, self.dropout, rngs)
        x = x + dropout_in_training(self._mlp(x, for_mlp, points), self.dropout, rngs)
        return _at(points, "residual", x), kept

    def _mlp(
        self, x: Float[Array, "B R D"], modulation: Modulation, points: BlockPoints | None
    ) -> Float[Array, "B R D"]:
        normal = _modulated(self.norm_mlp(x), modulation)
        hidden = _at(points, "mlp.hidden", self.activation(self.expand(normal)))
        return _at(points, "mlp.out", self.contract(hidden))

    def _modulations(
        self, condition: Float[Array, "B L D"] | None
    ) -> tuple[Modulation, Modulation]:
        """Split what the condition says into scale and shift, for attention and for the MLP."""
        if not self.adaptive:
            return None, None
        assert condition is not None, "adaptive blocks are given a condition"
        a, b, c, d = jnp.split(self.modulation(jax.nn.silu(condition)), 4, axis=-1)
        return (a, b), (c, d)


def _at(points: BlockPoints | None, part: str, value: Array) -> Array:
    return value if points is None else points.at(part, value)


def _modulated(x: Float[Array, "B L D"], modulation: Modulation) -> Float[Array, "B L D"]:
    if modulation is None:
        return x
    scale, shift = modulation
    return x * (1 + scale.astype(x.dtype)) + shift.astype(x.dtype)
