"""One layer of the language model: attention and an MLP, each added to the residual stream.

Axes: B batch, L tokens, D width, H heads, K heads of keys and values, d head size, F features of
the return.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from dt.config.language_model import LanguageModelConfig
from dt.model.dropout import dropout_in_training
from dt.model.layers import LayerNorm, Linear, RMSNorm

Memory = TypeVar("Memory")
# Queries (B, L, H, d), keys and values (B, L, K, d) -> what each query attends to, of the queries'
# shape, and what of the keys and values is to be remembered.
Attend: TypeAlias = Callable[[Array, Array, Array], tuple[Array, Memory]]
Waves: TypeAlias = tuple[Array, Array]  # cosine and sine of each position's turns, (B, L, 1, d / 2)

_ZEROS = nnx.initializers.zeros_init()
_PLAIN = nnx.initializers.lecun_normal()


class AdaptedLinear(nnx.Module):
    """A linear layer, and a product of two thin matrices beside it that starts at zero."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        config: LanguageModelConfig,
        init: nnx.Initializer = _PLAIN,
        *,
        rngs: nnx.Rngs,
    ):
        self.base = Linear(inputs, outputs, use_bias=config.biases, kernel_init=init, rngs=rngs)
        if config.adapter_rank:
            rank = config.adapter_rank
            self.adapter_in = Linear(inputs, rank, use_bias=False, rngs=rngs)
            self.adapter_out = Linear(rank, outputs, use_bias=False, kernel_init=_ZEROS, rngs=rngs)
        self.adapted = config.adapter_rank > 0

    def __call__(self, x: Float[Array, "*b I"]) -> Float[Array, "*b O"]:
        y = self.base(x)
        return y + self.adapter_out(self.adapter_in(x)) if self.adapted else y


class Block(nnx.Module):
    """Pre-norm attention and MLP; the return enters before both, by a map that starts at zero."""

    def __init__(self, config: LanguageModelConfig, *, rngs: nnx.Rngs):
        width, size = config.width, config.head_size
        self.heads = config.num_heads, config.key_heads
        self.swiglu = config.activation == "swiglu"
        self.dropout = config.dropout
        self.returns = Linear(
            config.return_width, width, use_bias=False, kernel_init=_ZEROS, rngs=rngs
        )
        self.norm_attention = make_norm(config, rngs=rngs)
        self.qkv = AdaptedLinear(
            width, sum(self.heads) * size + self.heads[1] * size, config, rngs=rngs
        )
        # What is added to the residual stream begins as small as the tokens' own vectors, or these
        # are drowned, and hundreds of updates go by before a token is told from another
        # (Radford et al. 2019, section 2.3).
        small = nnx.initializers.normal(0.02 / np.sqrt(2 * config.num_layers))
        self.out = AdaptedLinear(self.heads[0] * size, width, config, small, rngs=rngs)
        self.norm_mlp = make_norm(config, rngs=rngs)
        inner = 2 * config.hidden if self.swiglu else config.hidden
        self.expand = AdaptedLinear(width, inner, config, rngs=rngs)
        self.contract = AdaptedLinear(config.hidden, width, config, small, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "B L D"],
        attend: Attend[Memory],
        waves: Waves | None,
        features: Float[Array, "B F"] | None,
        rngs: nnx.Rngs | None = None,
    ) -> tuple[Float[Array, "B L D"], Memory]:
        """Compute the outputs of all tokens, and what `attend` keeps.

        Args:
            waves: of the tokens' positions, by which queries and keys are turned; None where
                positions are not rotary.
            features: of the return; zero is no return, and None leaves its map out.
            rngs: for dropout; without them the block is deterministic.
        """
        if features is not None:
            x = x + self.returns(features.astype(x.dtype))[:, None]
        num_heads, key_heads = self.heads
        heads = self.qkv(self.norm_attention(x)).reshape(
            *x.shape[:2], num_heads + 2 * key_heads, -1
        )
        q, k, v = jnp.split(heads, (num_heads, num_heads + key_heads), axis=2)
        if waves is not None:
            q, k = turned(q, waves), turned(k, waves)
        mixed, kept = attend(q, k, v)
        mixed = self.out(mixed.reshape(*x.shape[:2], -1))
        x = x + dropout_in_training(mixed, self.dropout, rngs)
        return x + dropout_in_training(self._mlp(self.norm_mlp(x)), self.dropout, rngs), kept

    def _mlp(self, x: Float[Array, "B L D"]) -> Float[Array, "B L D"]:
        inner = self.expand(x)
        if self.swiglu:
            gate, value = jnp.split(inner, 2, axis=-1)
            return self.contract(jax.nn.silu(gate) * value)
        return self.contract(jax.nn.gelu(inner))


def make_norm(config: LanguageModelConfig, *, rngs: nnx.Rngs) -> LayerNorm | RMSNorm:
    """Make the norm that the configuration names."""
    kind = LayerNorm if config.norm == "layer" else RMSNorm
    return kind(config.width, epsilon=config.epsilon, rngs=rngs)


def waves_of(positions: Int[Array, "B L"], config: LanguageModelConfig) -> Waves | None:
    """Compute the turns of each position, in float32 (Su et al. 2021); None without such."""
    if config.positions != "rotary":
        return None
    half = config.head_size // 2
    frequencies = config.rope_theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions.astype(jnp.float32)[..., None, None] * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def turned(x: Float[Array, "B L h d"], waves: Waves) -> Float[Array, "B L h d"]:
    """Turn pairs of numbers, which lie half a head apart as in Llama's folders."""
    cosine, sine = (wave.astype(x.dtype) for wave in waves)
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate(
        [first * cosine - second * sine, second * cosine + first * sine], axis=-1
    )
