"""The causal transformer: full over a segment for training, one step at a time for acting.

Axes: B batch, L tokens (timesteps times tokens a step), D width, H heads, W the window in
timesteps. A token attends to itself and the tokens before it of the last W timesteps. Because no
token ever sees further back, keys and values never change once computed: a ring of W + 1
steps' tokens gives in one step exactly what recomputing the whole sequence would. A recipe
that is not `cached` attends over the whole segment instead.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.model.attention import Before, Prefix, Reach, attend, within
from dt.model.layers import Linear, dropout
from dt.model.recipe import Recipe

Modulation = tuple[Any, Any] | None  # scale and shift of a norm's output


class RingCache(NamedTuple):
    """Keys and values of the last W + 1 steps of acting, for each row of a batch on its own clock.

    One more than the window: the action before, which a step of acting brings, sees a timestep
    further back than the rest of the step. All rows write the same block of slots at the same step,
    whatever their timestep: one copy of memory, where slots of their own would be a scatter.
    `positions` says what a slot holds, -1 for nothing; it is what attention masks by, so emptying a
    row needs no write to keys and values.
    """

    keys: tuple[Float[Array, "B H d S"], ...]  # one a layer; so laid out that none is ever copied
    values: tuple[Float[Array, "B H S d"], ...]
    positions: Int[Array, "B R"]  # timestep * tokens_per_step + place within the step
    block: Int[Array, ""]  # which of the W + 1 is written next
    prefix: Bool[Array, "B P"]  # S = R + P: behind the ring lies what all tokens see

    def emptied(self, rows: Bool[Array, " B"]) -> RingCache:
        """Forget all of these rows."""
        return self._replace(positions=jnp.where(rows[:, None], -1, self.positions))


def seen_from(
    query: Int[Array, "B n"], key: Int[Array, "B R"], window: int, tokens_per_step: int
) -> Bool[Array, "B n R"]:
    """Whether a token at one position sees that at another: of the last `window` timesteps, its own
    included, those not after it. Position -1 is nobody's."""
    # The first position of the earliest timestep that a query sees.
    first = jnp.maximum(query // tokens_per_step - (window - 1), 0) * tokens_per_step
    k = key[:, None, :]
    return (k <= query[:, :, None]) & (k >= first[:, :, None])


def dropped(rate: float, x: Array, rngs: nnx.Rngs | None) -> Array:
    """Dropout where there is randomness for it: training passes rngs, acting does not."""
    return x if rngs is None or not rate else dropout(x, rate, rngs.dropout())


class Attention(nnx.Module):
    def __init__(
        self, width: int, num_heads: int, dropout: float, recipe: Recipe, *, rngs: nnx.Rngs
    ):
        self.num_heads = num_heads
        self.qkv = recipe.block_linear(width, 3 * width, rngs=rngs)
        self.out = recipe.block_linear(width, width, rngs=rngs)
        self.dropout = dropout if recipe.attention_dropout else 0.0

    def project(self, x: Float[Array, "B L D"]) -> tuple[Any, Any, Any]:
        """Queries, keys and values, each (B, L, H, D / H).

        A head's three stand together, so that a device that has some of the columns (the mesh's
        axis `model`) has all of some heads.
        """
        heads = self.qkv(x).reshape(*x.shape[:2], self.num_heads, 3, -1)
        return heads[:, :, :, 0], heads[:, :, :, 1], heads[:, :, :, 2]

    def attend(
        self,
        q: Array,
        k: Array,
        v: Array,
        real: Bool[Array, "B T"] | None,
        reach: Reach,
        queries: Int[np.ndarray, " Q"],
        rngs: nnx.Rngs | None,
        prefix: Bool[Array, "B P"] | None = None,
    ) -> Float[Array, "B L D"]:
        """
        Args:
            prefix: which of the first P keys are there, that stand before the sequence. Queries
                are the sequence's, after those of the prefix where it is to be computed too.
        """
        drop, before, own = None, None, q.shape[1] - len(queries)
        if rngs is not None and self.dropout:
            drop = partial(dropped, self.dropout, rngs=rngs)
        if prefix is not None:
            P = prefix.shape[1]
            before = Before(k[:, :P], v[:, :P], prefix)
            k, v = k[:, P:], v[:, P:]
        mixed = attend(q[:, own:], k, v, real, reach, queries, drop, before)
        if own:
            assert before is not None
            mixed = jnp.concatenate([within(q[:, :own], before, drop), mixed], axis=1)
        return self.out(mixed.reshape(*q.shape[:2], -1))

    def look(
        self,
        q: Float[Array, "B n H d"],
        keys: Float[Array, "B H d S"],
        values: Float[Array, "B H S d"],
        mask: Bool[Array, "B n S"],
    ) -> Float[Array, "B n D"]:
        """The same for a few queries and a whole ring.

        What comes out is asked for heads first, as the ring is: in another order the compiler for
        CPUs takes ten times as long for it.
        """
        q = q.swapaxes(1, 2)
        scores = jnp.einsum("bhnd,bhds->bhns", q, keys, preferred_element_type=jnp.float32)
        scores = scores / np.sqrt(q.shape[-1])
        scores = jnp.where(mask[:, None], scores, jnp.finfo(scores.dtype).min)
        weights = jax.nn.softmax(scores).astype(values.dtype)
        mixed = jnp.einsum("bhns,bhsd->bhnd", weights, values).swapaxes(1, 2)
        return self.out(mixed.reshape(*mixed.shape[:2], -1))


class Block(nnx.Module):
    """Pre-norm attention and MLP, each with dropout on its way into the residual stream."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        dropout: float,
        recipe: Recipe,
        adaptive: bool = False,
        attends: bool = True,
        *,
        rngs: nnx.Rngs,
    ):
        """
        Args:
            attends: False where a token has nobody but itself to attend to; a block is then a
                residual layer of an MLP.
            adaptive: a condition scales and shifts what the norms give (Peebles and Xie 2023,
                adaLN); at first not at all.
        """
        self.adaptive = adaptive
        if adaptive:
            zeros = nnx.initializers.zeros_init()
            self.modulation = Linear(width, 4 * width, kernel_init=zeros, rngs=rngs)
        self.attends = attends
        if attends:
            self.norm_attention = recipe.norm(width, rngs=rngs)
            self.attention = Attention(width, num_heads, dropout, recipe, rngs=rngs)
        self.norm_mlp = recipe.norm(width, rngs=rngs)
        self.expand = recipe.block_linear(width, 4 * width, rngs=rngs)
        self.contract = recipe.block_linear(4 * width, width, rngs=rngs)
        self.activation = recipe.activation
        self.dropout = dropout

    def __call__(
        self,
        x: Float[Array, "B L D"],
        real: Bool[Array, "B T"] | None,
        reach: Reach,
        rngs: nnx.Rngs | None,
        read: Int[np.ndarray, " R"] | None = None,
        condition: Float[Array, "B L D"] | None = None,
        prefix: Bool[Array, "B P"] | None = None,
    ) -> Float[Array, "B R D"]:
        """All tokens, or only those at the positions `read`: the last block need not do more.

        Args:
            prefix: which of the first P tokens are there, that stand before the sequence.
        """
        P = 0 if prefix is None else prefix.shape[1]
        queries = np.arange(x.shape[1] - P) if read is None else read
        for_attention, for_mlp = self.modulations(condition)
        if not self.attends:
            return x + dropped(self.dropout, self.mlp(x, for_mlp), rngs)
        q, k, v = self.attention.project(_modulated(self.norm_attention(x), for_attention))
        if read is not None:
            kept = read + P
            x, q = x[:, kept], q[:, kept]
            for_mlp = jax.tree.map(lambda m: m[:, kept], for_mlp)
        mixed = self.attention.attend(q, k, v, real, reach, queries, rngs, prefix)
        x = x + dropped(self.dropout, mixed, rngs)
        return x + dropped(self.dropout, self.mlp(x, for_mlp), rngs)

    def step(
        self,
        x: Float[Array, "B n D"],
        keys: Array,
        values: Array,
        slot: Int[Array, ""],
        mask: Bool[Array, "B n S"],
        newest: bool,
        condition: Float[Array, "B n D"] | None = None,
    ) -> tuple[Array, Array, Array]:
        """New tokens only: write their keys and values into the ring, attend to the ring.

        Args:
            slot: where the first of them is written.
            newest: the outputs of the last token alone; nobody reads the others of the last block.
        """
        for_attention, for_mlp = self.modulations(condition)
        if not self.attends:
            return x + self.mlp(x, for_mlp), keys, values
        q, k, v = self.attention.project(_modulated(self.norm_attention(x), for_attention))
        # That something is not finite is told by its key, which masking hides: a value that is
        # masked is still multiplied, by zero, and NaN would outlast the episode.
        sound = jnp.isfinite(v).all(axis=-1, keepdims=True)
        k, v = jnp.where(sound, k, jnp.nan), jnp.where(sound, v, 0)
        keys = jax.lax.dynamic_update_slice_in_dim(keys, k.transpose(0, 2, 3, 1), slot, axis=3)
        values = jax.lax.dynamic_update_slice_in_dim(values, v.swapaxes(1, 2), slot, axis=2)
        if newest:
            x, q, mask = x[:, -1:], q[:, -1:], mask[:, -1:]
            for_mlp = jax.tree.map(lambda m: m[:, -1:], for_mlp)
        x = x + self.attention.look(q, keys, values, mask)
        return x + self.mlp(x, for_mlp), keys, values

    def begin(
        self, x: Float[Array, "B P D"], real: Bool[Array, "B P"]
    ) -> tuple[Array, Array, Array]:
        """What stands before a sequence, by itself; also its keys and values."""
        condition = jnp.zeros_like(x) if self.adaptive else None
        for_attention, for_mlp = self.modulations(condition)
        q, k, v = self.attention.project(_modulated(self.norm_attention(x), for_attention))
        mixed = within(q, Before(k, v, real))
        x = x + self.attention.out(mixed.reshape(x.shape))
        return x + self.mlp(x, for_mlp), k, v

    def mlp(self, x: Float[Array, "B L D"], modulation: Modulation) -> Float[Array, "B L D"]:
        seen = _modulated(self.norm_mlp(x), modulation)
        return self.contract(self.activation(self.expand(seen)))

    def modulations(self, condition: Float[Array, "B L D"] | None) -> tuple[Modulation, Modulation]:
        """Scale and shift for attention and for the MLP; None where nothing is modulated."""
        if not self.adaptive:
            return None, None
        assert condition is not None, "adaptive blocks are told a condition"
        a, b, c, d = jnp.split(self.modulation(jax.nn.silu(condition)), 4, axis=-1)
        return (a, b), (c, d)


def _modulated(x: Float[Array, "B L D"], modulation: Modulation) -> Float[Array, "B L D"]:
    if modulation is None:
        return x
    scale, shift = modulation
    return x * (1 + scale.astype(x.dtype)) + shift.astype(x.dtype)


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
        dtype: str = "float32",
        remat: bool = False,
        scan_layers: bool = False,
        adaptive: bool = False,
        num_prefix: int = 0,
        *,
        rngs: nnx.Rngs,
    ):
        """
        Args:
            num_prefix: tokens that stand before the sequence, for all of it to see.
            dtype: of everything between the embedding and the last norm, but for weights, their
                gradients, the norms' and the softmax' insides.
            remat: keep only what passes between blocks, and compute the rest again on the way
                back.
            scan_layers: compile one block and run it many times; weights are the same.
        """
        self.window = window
        self.num_prefix = num_prefix
        self.attends = window * tokens_per_step + num_prefix > 1
        self.banded = recipe.cached
        self.tokens_per_step = tokens_per_step
        self.dtype = dtype
        self.remat = remat
        self.scan_layers = scan_layers
        self.dropout = dropout
        self.blocks = nnx.List(
            [
                Block(width, num_heads, dropout, recipe, adaptive, self.attends, rngs=rngs)
                for _ in range(num_layers)
            ]
        )
        self.norm = recipe.norm(width, rngs=rngs)

    def __call__(
        self,
        tokens: Float[Array, "B T n D"],
        mask: Bool[Array, "B T"] | None,
        read: int,
        *,
        condition: Float[Array, "B T D"] | None = None,
        also: int | None = None,
        newest: bool = False,
        prefix: Prefix | None = None,
        rngs: nnx.Rngs | None = None,
    ) -> Any:
        """A whole segment at once; the outputs of one token of each timestep, (B, R, D).

        Args:
            mask: real timesteps; no token attends to padding, on whichever side it lies. None:
                padding, if any, stands last, where causality hides it at no cost.
            read: the place, within a timestep, of the token whose outputs are wanted.
            condition: what modulates each timestep's tokens, where the blocks are adaptive.
            also: the place of a second token; there are then two arrays of outputs.
            newest: of the last timestep alone; R is then 1 instead of T.
            prefix: the tokens that stand before all others.
            rngs: for dropout; without them the model is deterministic.
        """
        B, T, n, D = tokens.shape
        # Timesteps are consecutive within a segment, so the window can be counted in positions.
        reach = Reach(self.window if self.banded else T, n)
        x = tokens.reshape(B, T * n, D)
        if prefix is not None:
            x = jnp.concatenate([prefix.vectors, x], axis=1)
        x = dropped(self.dropout, x.astype(self.dtype), rngs)
        there = None if prefix is None else prefix.real
        keys = None if rngs is None else jax.random.split(rngs.dropout(), len(self.blocks))
        graph, first = nnx.split(self.blocks[0])
        states = [first, *(nnx.state(block) for block in list(self.blocks)[1:])]

        def run(x: Array, state: Any, key: Array | None, read: Any = None) -> Array:
            layer = nnx.merge(graph, state)
            rngs = None if key is None else nnx.Rngs(dropout=key)
            return layer(x, mask, reach, rngs, read, condition, there)

        if condition is not None:
            condition = jnp.repeat(condition, n, axis=1).astype(self.dtype)
            condition = jnp.pad(condition, ((0, 0), (self.num_prefix, 0), (0, 0)))
        reads = [np.arange(place, T * n, n)[-1 if newest else 0 :] for place in (read, also or 0)]
        # Interleaved, so that positions are in order, as the attention expects them.
        places = reads[0] if also is None else np.sort(np.concatenate(reads))
        x = self._through(run, x, states[:-1], None if keys is None else keys[:-1])
        run_last = partial(run, read=places)
        last = jax.checkpoint(run_last) if self.remat else run_last
        x = last(x, states[-1], None if keys is None else keys[-1])
        x = self.norm(x).astype(jnp.float32)
        if also is None:
            return x
        outputs = x[:, 0::2], x[:, 1::2]
        return outputs if read < also else outputs[::-1]

    def _through(self, run: Any, x: Array, states: list[Any], keys: Array | None) -> Array:
        """Block after block, in the program's text or in a loop of one block."""
        if self.remat:
            run = jax.checkpoint(run, prevent_cse=not self.scan_layers)
        if not self.scan_layers or len(states) < 2:
            for i, state in enumerate(states):
                x = run(x, state, None if keys is None else keys[i])
            return x
        # Stacked here rather than in the model, so that checkpoints do not depend on it.
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        return jax.lax.scan(lambda x, layer: (run(x, *layer), None), x, (stacked, keys))[0]

    def init_cache(self, batch_size: int) -> RingCache:
        """An empty ring for `batch_size` rows."""
        num_slots, heads, size = (self.window + 1) * self.tokens_per_step, 0, 0
        if self.attends:
            attention = self.blocks[0].attention
            heads = attention.num_heads
            size = attention.out.in_features // heads
        total = num_slots + self.num_prefix
        shapes = (batch_size, heads, size, total), (batch_size, heads, total, size)
        keys, values = (
            tuple(jnp.zeros(shape, self.dtype) for _ in self.blocks) for shape in shapes
        )
        return RingCache(
            keys,
            values,
            positions=jnp.full((batch_size, num_slots), -1, jnp.int32),
            block=jnp.zeros((), jnp.int32),
            prefix=jnp.zeros((batch_size, self.num_prefix), bool),
        )

    def begin(self, cache: RingCache, rows: Bool[Array, " B"], prefix: Prefix) -> RingCache:
        """Put before the sequences of these rows what all their tokens shall see."""
        x, first = prefix.vectors.astype(self.dtype), cache.positions.shape[1]
        chosen, all_keys, all_values = rows[:, None, None, None], [], []
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            x, k, v = block.begin(x, prefix.real)
            k = jnp.where(chosen, k.transpose(0, 2, 3, 1), keys[..., first:])
            v = jnp.where(chosen, v.swapaxes(1, 2), values[:, :, first:])
            all_keys.append(keys.at[..., first:].set(k))
            all_values.append(values.at[:, :, first:].set(v))
        real = jnp.where(rows[:, None], prefix.real, cache.prefix)
        return cache._replace(keys=tuple(all_keys), values=tuple(all_values), prefix=real)

    def step(
        self,
        tokens: Float[Array, "B n D"],
        timesteps: Int[Array, "B n"],
        places: Int[np.ndarray, " n"],
        cache: RingCache,
        condition: Float[Array, "B n D"] | None = None,
        written: int = 0,
    ) -> tuple[Float[Array, "B 1 D"], RingCache]:
        """The output of the last of a few new tokens, given the ring of those before them.

        Args:
            timesteps: of each token; -1 marks a token that is not there (no action precedes the
                first observation) and leaves nothing for others to attend to. A row's timesteps
                follow each other without a gap, or begin anew when it is emptied.
            places: of each token within its timestep's layout. Tokens come in sequence order.
            condition: of each token, where the blocks are adaptive.
            written: tokens of this step of acting that came before, in an earlier call. The call
                that brings them to tokens_per_step ends the step.
        """
        n, count = self.tokens_per_step, len(places)
        assert written + count <= n, "a step of acting has as many tokens as a timestep"
        slot = cache.block * n + written
        real = timesteps >= 0
        new = jnp.where(real, timesteps * n + places, -1)
        held = jax.lax.dynamic_update_slice_in_dim(cache.positions, new, slot, axis=1)
        mask = seen_from(new, held, self.window, n)
        # So that no softmax is empty, what is not there sees itself.
        itself = jnp.arange(held.shape[1]) == slot + np.arange(count)[:, None]
        mask = jnp.where(real[:, :, None], mask, itself)
        seen = jnp.broadcast_to(cache.prefix[:, None], (*mask.shape[:2], self.num_prefix))
        mask = jnp.concatenate([mask, seen], axis=2)
        x, all_keys, all_values = tokens.astype(self.dtype), [], []
        last = self.blocks[len(self.blocks) - 1]
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            x, keys, values = block.step(
                x, keys, values, slot, mask, newest=block is last, condition=condition
            )
            all_keys.append(keys)
            all_values.append(values)
        after = (cache.block + 1) % (self.window + 1) if written + count == n else cache.block
        cache = RingCache(tuple(all_keys), tuple(all_values), held, after, cache.prefix)
        return self.norm(x).astype(jnp.float32), cache
