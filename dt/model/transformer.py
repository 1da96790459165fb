"""The causal transformer: full over a segment for training, one step at a time for acting.

Axes: B batch, L tokens (timesteps times tokens a step), D width, H heads, W the window in
timesteps. A token attends to itself and the tokens before it of the last W timesteps. Because no
token ever sees further back, keys and values never change once computed: a ring of W + 1
timesteps gives in one step's tokens exactly what recomputing the whole sequence would. A recipe
that is not `cached` attends over the whole segment instead.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.model.recipe import Recipe


class RingCache(NamedTuple):
    """Keys and values of the last W + 1 timesteps, for each row of a batch on its own clock.

    The slot of a token is (timestep mod (W + 1)) * tokens_per_step + its place in the step.
    `timesteps` says whose timestep a slot holds, -1 for an empty one; it is what attention masks
    by, so emptying a row needs no write to keys and values.
    """

    keys: tuple[Float[Array, "B S H d"], ...]  # one a layer
    values: tuple[Float[Array, "B S H d"], ...]
    timesteps: Int[Array, "B S"]

    def emptied(self, rows: Bool[Array, " B"]) -> RingCache:
        """Forget all of these rows."""
        return self._replace(timesteps=jnp.where(rows[:, None], -1, self.timesteps))


def window_mask(
    query: Int[Array, "*b Q"], key: Int[Array, "*b K"], window: int
) -> Bool[Array, "*b Q K"]:
    """Which timesteps a query's timestep may see: the last `window`, its own included."""
    q, k = query[..., :, None], key[..., None, :]
    return (k >= 0) & (k <= q) & (k > q - window)


def dropped(dropout: nnx.Dropout, x: Array, rngs: nnx.Rngs | None) -> Array:
    """Dropout where there is randomness for it: training passes rngs, acting does not."""
    return dropout(x, deterministic=rngs is None, rngs=rngs)


class Attention(nnx.Module):
    def __init__(
        self, width: int, num_heads: int, dropout: float, recipe: Recipe, *, rngs: nnx.Rngs
    ):
        self.num_heads = num_heads
        self.qkv = recipe.block_linear(width, 3 * width, rngs=rngs)
        self.out = recipe.block_linear(width, width, rngs=rngs)
        self.dropout = nnx.Dropout(dropout if recipe.attention_dropout else 0.0)

    def project(self, x: Float[Array, "B L D"]) -> tuple[Any, Any, Any]:
        """Queries, keys and values, each (B, L, H, D / H)."""
        heads = self.qkv(x).reshape(*x.shape[:2], 3, self.num_heads, -1)
        return heads[:, :, 0], heads[:, :, 1], heads[:, :, 2]

    def attend(
        self,
        q: Array,
        k: Array,
        v: Array,
        mask: Bool[Array, "#B Q K"],
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "B Q D"]:
        if rngs is None or not self.dropout.rate:
            mixed = jax.nn.dot_product_attention(q, k, v, mask=mask[:, None])
        else:  # the same by hand, with some of the weights left out
            scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1])
            lowest = jnp.finfo(scores.dtype).min
            weights = jax.nn.softmax(jnp.where(mask[:, None], scores, lowest))
            mixed = jnp.einsum("bhqk,bkhd->bqhd", dropped(self.dropout, weights, rngs), v)
        return self.out(mixed.reshape(*q.shape[:2], -1))

    def look(
        self, q: Array, keys: Array, values: Array, mask: Bool[Array, "B n S"]
    ) -> Float[Array, "B n D"]:
        """The same for a few queries and a whole ring, one head after the other.

        Batched over heads, XLA copies all of the ring into another order at every step, which costs
        four times what attending does (2 cores, 512 rows: 6.0 ms of computing against 1.6).
        """
        mixed = []
        for head in range(self.num_heads):
            scores = jnp.einsum("bnd,bsd->bns", q[:, :, head], keys[:, :, head])
            scores = jnp.where(mask, scores / np.sqrt(q.shape[-1]), jnp.finfo(scores.dtype).min)
            weights = jax.nn.softmax(scores)
            mixed.append(jnp.einsum("bns,bsd->bnd", weights, values[:, :, head]))
        return self.out(jnp.concatenate(mixed, axis=-1))


class Block(nnx.Module):
    """Pre-norm attention and MLP, each with dropout on its way into the residual stream."""

    def __init__(
        self, width: int, num_heads: int, dropout: float, recipe: Recipe, *, rngs: nnx.Rngs
    ):
        self.norm_attention = recipe.norm(width, rngs=rngs)
        self.attention = Attention(width, num_heads, dropout, recipe, rngs=rngs)
        self.norm_mlp = recipe.norm(width, rngs=rngs)
        self.expand = recipe.block_linear(width, 4 * width, rngs=rngs)
        self.contract = recipe.block_linear(4 * width, width, rngs=rngs)
        self.activation = recipe.activation
        self.dropout = nnx.Dropout(dropout)

    def __call__(
        self,
        x: Float[Array, "B L D"],
        mask: Bool[Array, "#B L L"],
        rngs: nnx.Rngs | None,
        read: Int[np.ndarray, " R"] | None = None,
    ) -> Float[Array, "B R D"]:
        """All tokens, or only those at the positions `read`: the last block need not do more."""
        q, k, v = self.attention.project(self.norm_attention(x))
        if read is not None:
            x, q, mask = x[:, read], q[:, read], mask[:, read]
        x = x + dropped(self.dropout, self.attention.attend(q, k, v, mask, rngs), rngs)
        return x + dropped(self.dropout, self.mlp(x), rngs)

    def step(
        self,
        x: Float[Array, "B n D"],
        keys: Array,
        values: Array,
        slots: Int[Array, "B n"],
        mask: Bool[Array, "B n S"],
        newest: bool,
    ) -> tuple[Array, Array, Array]:
        """New tokens only: write their keys and values into the ring, attend to the ring.

        Args:
            newest: the outputs of the last token alone; nobody reads the others of the last block.
        """
        q, k, v = self.attention.project(self.norm_attention(x))
        rows = jnp.arange(len(x))[:, None]
        keys, values = keys.at[rows, slots].set(k), values.at[rows, slots].set(v)
        if newest:
            x, q, mask = x[:, -1:], q[:, -1:], mask[:, -1:]
        x = x + self.attention.look(q, keys, values, mask)
        return x + self.mlp(x), keys, values

    def mlp(self, x: Float[Array, "B L D"]) -> Float[Array, "B L D"]:
        return self.contract(self.activation(self.expand(self.norm_mlp(x))))


class Transformer(nnx.Module):
    def __init__(
        self,
        width: int,
        num_layers: int,
        num_heads: int,
        window: int,
        tokens_per_step: int,
        dropout: float,
        recipe: Recipe,
        *,
        rngs: nnx.Rngs,
    ):
        self.window = window
        self.banded = recipe.cached
        self.tokens_per_step = tokens_per_step
        self.dropout = nnx.Dropout(dropout)
        self.blocks = nnx.List(
            [Block(width, num_heads, dropout, recipe, rngs=rngs) for _ in range(num_layers)]
        )
        self.norm = recipe.norm(width, rngs=rngs)

    def __call__(
        self,
        tokens: Float[Array, "B T n D"],
        mask: Bool[Array, "B T"],
        read: int,
        *,
        newest: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "B R D"]:
        """A whole segment at once; the outputs of one token of each timestep.

        Args:
            mask: real timesteps; no token attends to padding, on whichever side it lies.
            read: the place, within a timestep, of the token whose outputs are wanted.
            newest: of the last timestep alone; R is then 1 instead of T.
            rngs: for dropout; without them the model is deterministic.
        """
        B, T, n, D = tokens.shape
        # Timesteps are consecutive within a segment, so the window can be counted in positions.
        steps = jnp.repeat(jnp.arange(T), n)
        order = jnp.arange(T * n)
        band = window_mask(steps, steps, self.window if self.banded else T) & (
            order <= order[:, None]
        )
        allowed = band & jnp.repeat(mask, n, axis=1)[:, None, :]
        allowed = allowed | jnp.eye(T * n, dtype=bool)  # padding sees itself: no empty softmax
        x = dropped(self.dropout, tokens.reshape(B, T * n, D), rngs)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x, allowed, rngs)
        places = np.arange(read, T * n, n)[-1 if newest else 0 :]
        return self.norm(last(x, allowed, rngs, places))

    def init_cache(self, batch_size: int, dtype: Any = jnp.float32) -> RingCache:
        """An empty ring for `batch_size` rows."""
        num_slots = (self.window + 1) * self.tokens_per_step
        attention = self.blocks[0].attention
        head_dim = attention.out.in_features // attention.num_heads
        shape = (batch_size, num_slots, attention.num_heads, head_dim)
        return RingCache(
            keys=tuple(jnp.zeros(shape, dtype) for _ in self.blocks),
            values=tuple(jnp.zeros(shape, dtype) for _ in self.blocks),
            timesteps=jnp.full((batch_size, num_slots), -1, jnp.int32),
        )

    def step(
        self,
        tokens: Float[Array, "B n D"],
        timesteps: Int[Array, "B n"],
        places: Int[Array, " n"],
        cache: RingCache,
    ) -> tuple[Float[Array, "B 1 D"], RingCache]:
        """The output of the last of a few new tokens, given the ring of those before them.

        Args:
            timesteps: of each token; -1 marks a token that is not there (no action precedes the
                first observation) and leaves nothing for others to attend to.
            places: of each token within its timestep's layout. Tokens come in sequence order.
        """
        real = timesteps >= 0
        ring = jnp.where(real, timesteps, self.window) % (self.window + 1)
        slots = ring * self.tokens_per_step + places
        rows = jnp.arange(len(tokens))[:, None]
        held = cache.timesteps.at[rows, slots].set(timesteps)
        # Order within the sequence decides among tokens of one timestep and of the next.
        slot_places = jnp.arange(held.shape[1]) % self.tokens_per_step
        key_order = held * self.tokens_per_step + slot_places  # (B, S)
        query_order = timesteps * self.tokens_per_step + places  # (B, n)
        mask = window_mask(timesteps, held, self.window)
        mask = mask & (key_order[:, None] <= query_order[:, :, None])
        mask = mask | (~real[:, :, None] & (jnp.arange(held.shape[1]) == slots[:, :, None]))
        x, all_keys, all_values = tokens, [], []
        last = self.blocks[len(self.blocks) - 1]
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            x, keys, values = block.step(x, keys, values, slots, mask, newest=block is last)
            all_keys.append(keys)
            all_values.append(values)
        return self.norm(x), RingCache(tuple(all_keys), tuple(all_values), held)
