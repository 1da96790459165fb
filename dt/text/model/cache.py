"""The language model a token at a time: keys and values of the tokens before lie in a ring.

Axes: B texts, n new tokens, S slots, D width, H heads, K heads of keys and values, d head size.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dt.model.ring_cache import seen_from
from dt.text.model.block import waves_of
from dt.text.model.language_model import LanguageModel

KeysAndValues: TypeAlias = tuple[Array, Array]


class TextCache(NamedTuple):
    """Keys and values of the last S tokens of each text, each text on a clock of its own.

    All texts write the same slot at the same step, and `positions` says what a slot holds, -1 for
    nothing: emptying a text needs no write to keys and values. With as many slots as the longest
    text has tokens nothing is ever overwritten that its text still sees, so that positions may be
    absolute; with as many as the model's window the same holds however long a text becomes.
    """

    keys: tuple[Float[Array, "B K d S"], ...]  # one a layer; so laid out that none is ever copied
    values: tuple[Float[Array, "B K S d"], ...]
    positions: Int[Array, "B S"]
    clock: Int[Array, " B"]  # position of each text's next token
    slot: Int[Array, ""]  # which is written next

    @classmethod
    def empty(cls, model: LanguageModel, batch_size: int, length: int = 0) -> TextCache:
        """Make a cache that holds nothing yet.

        Args:
            length: tokens of the longest text that is to come; 0: the model's longest.
        """
        config = model.config
        slots = length or config.longest
        if config.positions == "rotary" and config.window:
            slots = min(slots, config.window)
        sizes = batch_size, config.key_heads
        shapes = (*sizes, config.head_size, slots), (*sizes, slots, config.head_size)
        keys, values = (
            tuple(jnp.zeros(shape, config.dtype) for _ in model.blocks) for shape in shapes
        )
        nothing = jnp.full((batch_size, slots), -1, jnp.int32)
        clock = jnp.zeros(batch_size, jnp.int32)
        return cls(keys, values, nothing, clock, jnp.zeros((), jnp.int32))

    def emptied(self, rows: Bool[Array, " B"]) -> TextCache:
        """Forget all of these texts, so that others begin in their place."""
        positions = jnp.where(rows[:, None], -1, self.positions)
        return self._replace(positions=positions, clock=jnp.where(rows, 0, self.clock))


def advance(
    model: LanguageModel,
    cache: TextCache,
    tokens: Int[Array, "B n"],
    real: Bool[Array, "B n"] | None = None,
    returns: Float[Array, " B"] | None = None,
    null: Bool[Array, " B"] | None = None,
) -> tuple[Float[Array, "B n D"], TextCache]:
    """Compute the hidden vectors of new tokens, given those before them.

    Several tokens at once, such as a prompt, come to an empty cache that has a slot for each.

    Args:
        real: tokens that are there; padding is seen by nobody, and a prompt's lies on its left.
        returns, null: as the model takes them.
    """
    config, count = model.config, tokens.shape[1]
    if real is None:
        real = jnp.ones(tokens.shape, bool)
    ahead = jnp.cumsum(real, axis=1, dtype=jnp.int32)
    places = jnp.maximum(cache.clock[:, None] + ahead - 1, 0)
    new = jnp.where(real, places, -1)
    held = jax.lax.dynamic_update_slice_in_dim(cache.positions, new, cache.slot, axis=1)
    mask = seen_from(new, held, config.window or config.longest, 1)
    # So that no softmax is empty, what is not there sees itself.
    itself = jnp.arange(held.shape[1]) == cache.slot + np.arange(count)[:, None]
    mask = jnp.where(real[:, :, None], mask, itself)
    x, all_keys, all_values = model.embedded(tokens, places), [], []
    waves, features = waves_of(places, config), model.features(returns, null)
    for block, before in zip(model.blocks, zip(cache.keys, cache.values, strict=True), strict=True):
        attend = partial(_write_and_attend, ring=before, slot=cache.slot, mask=mask)
        x, (keys, values) = block(x, attend, waves, features)
        all_keys.append(keys)
        all_values.append(values)
    clock, slot = cache.clock + ahead[:, -1], (cache.slot + count) % held.shape[1]
    hidden = model.norm(x).astype(jnp.float32)
    return hidden, TextCache(tuple(all_keys), tuple(all_values), held, clock, slot)


def _write_and_attend(
    q: Float[Array, "B n H d"],
    k: Float[Array, "B n K d"],
    v: Float[Array, "B n K d"],
    *,
    ring: KeysAndValues,
    slot: Int[Array, ""],
    mask: Bool[Array, "B n S"],
) -> tuple[Float[Array, "B n H d"], KeysAndValues]:
    """Write new keys and values into the ring from `slot` on, and attend to all of it."""
    keys, values = ring
    keys = jax.lax.dynamic_update_slice_in_dim(keys, k.transpose(0, 2, 3, 1), slot, axis=3)
    values = jax.lax.dynamic_update_slice_in_dim(values, v.swapaxes(1, 2), slot, axis=2)
    B, n, H, d = q.shape
    # The heads that share a head of keys stand together, and are rows of one product.
    groups = q.reshape(B, n, keys.shape[1], -1, d).transpose(0, 2, 3, 1, 4)  # (B, K, H / K, n, d)
    scores = jnp.einsum("bkgnd,bkds->bkgns", groups, keys, preferred_element_type=jnp.float32)
    scores = scores / np.sqrt(d)
    scores = jnp.where(mask[:, None, None], scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores).astype(values.dtype)
    mixed = jnp.einsum("bkgns,bksd->bkgnd", weights, values)
    return mixed.transpose(0, 3, 1, 2, 4).reshape(B, n, H, d), (keys, values)
