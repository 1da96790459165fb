"""The transformer one step at a time: keys and values of the last steps lie in a ring.

Axes: B batch, n new tokens, W the window in timesteps, P tokens of a prefix, R slots of the ring,
S = R + P, H heads, d head size. Because no token ever sees further back than W timesteps, keys and
values never change once computed: a ring of W + 1 steps' tokens gives in one step exactly what
recomputing the whole sequence would.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dt.model.attention import attend_within
from dt.model.attention.mask import Before, Prefix
from dt.model.attention.way import Drop
from dt.model.points import FINAL, FIRST, Points
from dt.model.transformer import Transformer

KeysAndValues: TypeAlias = tuple[Array, Array]


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

    @classmethod
    def empty(cls, transformer: Transformer, batch_size: int) -> RingCache:
        """Make a ring that holds nothing yet, for `batch_size` rows."""
        heads, size = 0, 0
        if transformer.attends:
            attention = transformer.blocks[0].attention
            heads = attention.num_heads
            size = attention.out.in_features // heads
        num_slots = (transformer.window + 1) * transformer.tokens_per_step
        total = num_slots + transformer.num_prefix
        shapes = (batch_size, heads, size, total), (batch_size, heads, total, size)
        keys, values = (
            tuple(jnp.zeros(shape, transformer.config.dtype) for _ in transformer.blocks)
            for shape in shapes
        )
        return cls(
            keys,
            values,
            positions=jnp.full((batch_size, num_slots), -1, jnp.int32),
            block=jnp.zeros((), jnp.int32),
            prefix=jnp.zeros((batch_size, transformer.num_prefix), bool),
        )

    def emptied(self, rows: Bool[Array, " B"]) -> RingCache:
        """Forget all of these rows."""
        return self._replace(positions=jnp.where(rows[:, None], -1, self.positions))


def begin(
    transformer: Transformer, cache: RingCache, rows: Bool[Array, " B"], prefix: Prefix
) -> RingCache:
    """Put before the sequences of these rows what all their tokens shall see."""
    x, first = prefix.vectors.astype(transformer.config.dtype), cache.positions.shape[1]
    chosen, all_keys, all_values = rows[:, None, None, None], [], []
    for block, keys, values in zip(transformer.blocks, cache.keys, cache.values, strict=True):
        condition = jnp.zeros_like(x) if block.adaptive else None
        x, kept = block(x, partial(_attend_within, real=prefix.real), condition)
        assert kept is not None, "blocks attend where there is a prefix to attend to"
        k, v = kept
        k = jnp.where(chosen, k.transpose(0, 2, 3, 1), keys[..., first:])
        v = jnp.where(chosen, v.swapaxes(1, 2), values[:, :, first:])
        all_keys.append(keys.at[..., first:].set(k))
        all_values.append(values.at[:, :, first:].set(v))
    real = jnp.where(rows[:, None], prefix.real, cache.prefix)
    return cache._replace(keys=tuple(all_keys), values=tuple(all_values), prefix=real)


def step(
    transformer: Transformer,
    tokens: Float[Array, "B n D"],
    timesteps: Int[Array, "B n"],
    places: Int[np.ndarray, " n"],
    cache: RingCache,
    condition: Float[Array, "B n D"] | None = None,
    written: int = 0,
    points: Points | None = None,
) -> tuple[Float[Array, "B 1 D"], RingCache]:
    """Compute the output of the last of a few new tokens, given the ring of those before them.

    Args:
        timesteps: of each token; -1 marks a token that is not there (no action precedes the
            first observation) and leaves nothing for others to attend to. A row's timesteps
            follow each other without a gap, or begin anew when it is emptied.
        places: of each token within its timestep's layout. Tokens come in sequence order.
        condition: of each token, where the blocks are adaptive.
        written: tokens of this step of acting that came before, in an earlier call. The call
            that brings them to tokens_per_step ends the step.
        points: what is read and edited of the new tokens; what the ring holds of those before
            them stays as it was computed, with their edits.
    """
    n, count = transformer.tokens_per_step, len(places)
    assert written + count <= n, "a step of acting has as many tokens as a timestep"
    slot = cache.block * n + written
    real = timesteps >= 0
    new = jnp.where(real, timesteps * n + places, -1)
    held = jax.lax.dynamic_update_slice_in_dim(cache.positions, new, slot, axis=1)
    mask = seen_from(new, held, transformer.window, n)
    # So that no softmax is empty, what is not there sees itself.
    itself = jnp.arange(held.shape[1]) == slot + np.arange(count)[:, None]
    mask = jnp.where(real[:, :, None], mask, itself)
    seen = jnp.broadcast_to(cache.prefix[:, None], (*mask.shape[:2], transformer.num_prefix))
    mask = jnp.concatenate([mask, seen], axis=2)
    x, all_keys, all_values = tokens.astype(transformer.config.dtype), [], []
    where = None if points is None else points.where(timesteps, places)
    if points is not None and where is not None:
        x = points.at(FIRST, x, where)
    for i, block in enumerate(transformer.blocks):
        ring = cache.keys[i], cache.values[i]
        last = i == len(transformer.blocks) - 1
        newest = slice(-1, None) if last and points is None else None
        here = None if points is None or where is None else points.of_block(i, where)
        attend = partial(_write_and_attend, ring=ring, slot=slot, mask=mask)
        x, after = block(x, attend, condition, newest, points=here)
        if points is not None and here is not None:
            points.note(i, here.seen)
        keys, values = ring if after is None else after
        all_keys.append(keys)
        all_values.append(values)
    ended = written + count == n
    next_block = (cache.block + 1) % (transformer.window + 1) if ended else cache.block
    cache = RingCache(tuple(all_keys), tuple(all_values), held, next_block, cache.prefix)
    x = transformer.norm(x).astype(jnp.float32)
    if points is not None and where is not None:
        x = points.at(FINAL, x, where)[:, -1:]
    return x, cache


def seen_from(
    query: Int[Array, "B n"], key: Int[Array, "B R"], window: int, tokens_per_step: int
) -> Bool[Array, "B n R"]:
    """Whether a token at one position sees that at another.

    It sees those of the last `window` timesteps, its own included, that do not come after it.
    Position -1 is nobody's.
    """
    # The first position of the earliest timestep that a query sees.
    first = jnp.maximum(query // tokens_per_step - (window - 1), 0) * tokens_per_step
    k = key[:, None, :]
    return (k <= query[:, :, None]) & (k >= first[:, :, None])


def _attend_within(
    q: Float[Array, "B P H d"],
    k: Float[Array, "B P H d"],
    v: Float[Array, "B P H d"],
    drop: Drop | None,
    *,
    real: Bool[Array, "B P"],
) -> tuple[Float[Array, "B P H d"], KeysAndValues]:
    """Attend from what stands before a sequence to itself; its keys and values are kept."""
    return attend_within(q, Before(k, v, real), drop), (k, v)


def _write_and_attend(
    q: Float[Array, "B m H d"],
    k: Float[Array, "B n H d"],
    v: Float[Array, "B n H d"],
    drop: Drop | None,
    *,
    ring: KeysAndValues,
    slot: Int[Array, ""],
    mask: Bool[Array, "B n S"],
) -> tuple[Float[Array, "B m H d"], KeysAndValues]:
    """Write new keys and values into the ring from `slot` on, and attend to all of it.

    Acting drops no weights: what `drop` does is to read or edit them, (B, H, n, S).

    What comes out is computed heads first, as the ring is: in another order the compiler for
    CPUs takes ten times as long for it.
    """
    # That something is not finite is told by its key, which masking hides: a value that is
    # masked is still multiplied, by zero, and NaN would outlast the episode.
    sound = jnp.isfinite(v).all(axis=-1, keepdims=True)
    k, v = jnp.where(sound, k, jnp.nan), jnp.where(sound, v, 0)
    keys, values = ring
    keys = jax.lax.dynamic_update_slice_in_dim(keys, k.transpose(0, 2, 3, 1), slot, axis=3)
    values = jax.lax.dynamic_update_slice_in_dim(values, v.swapaxes(1, 2), slot, axis=2)
    q, mask = q.swapaxes(1, 2), mask[:, -q.shape[1] :]
    scores = jnp.einsum("bhnd,bhds->bhns", q, keys, preferred_element_type=jnp.float32)
    scores = scores / np.sqrt(q.shape[-1])
    scores = jnp.where(mask[:, None], scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores).astype(values.dtype)
    weights = weights if drop is None else drop(weights)
    mixed = jnp.einsum("bhns,bhsd->bhnd", weights, values).swapaxes(1, 2)
    return mixed, (keys, values)
