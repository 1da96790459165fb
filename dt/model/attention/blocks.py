"""Attention over a segment of several windows: each block of one window, and the one before it.

Exact, as nobody sees further than a window, and linear in the length of the segment.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from dt.model.attention.cudnn import CUDNN
from dt.model.attention.mask import Before
from dt.model.attention.way import Inputs, Way, Whole, first_that_takes
from dt.model.attention.whole import WHOLE

WITHIN_A_BLOCK = (CUDNN, WHOLE)  # in the order of asking


def takes(inputs: Inputs) -> bool:
    """Whether the segment is several whole windows, which no fused kernel does at once."""
    window, n = inputs.reach
    num_steps = inputs.k.shape[1] // n
    if isinstance(inputs.drop, Whole):
        return False
    alone = inputs.real is None and inputs.before is None
    banded = n == 1 and alone and CUDNN.takes(inputs)
    divides = num_steps % window == 0 and len(inputs.queries) % num_steps == 0
    return num_steps > window and divides and not banded


def blocks(inputs: Inputs) -> Float[Array, "B Q H d"]:
    """Attend from a window of queries at a time to the keys of its own window and the one before.

    The first window has none before it, and is computed by itself.
    """
    q, k, v, real, reach, queries, drop, before = inputs
    B, count = len(q), k.shape[1] // (reach.window * reach.tokens_per_step)
    queries_each = len(queries) // count

    def first(x: Array) -> Array:
        return x[:, : x.shape[1] // count]

    def others(x: Array) -> Array:  # (B * (count - 1), tokens of a block, ...)
        blocks = x.reshape(B, count, -1, *x.shape[2:])[:, 1:]
        return blocks.reshape(B * (count - 1), -1, *x.shape[2:])

    def with_those_before(x: Array) -> Array:  # two blocks instead of one
        blocks = x.reshape(B, count, -1, *x.shape[2:])
        pairs = jnp.concatenate([blocks[:, :-1], blocks[:, 1:]], axis=2)
        return pairs.reshape(B * (count - 1), -1, *x.shape[2:])

    places, second = queries[:queries_each], queries[queries_each : 2 * queries_each]
    real_first = None if real is None else first(real)
    begin = _attend(Inputs(first(q), first(k), first(v), real_first, reach, places, drop, before))
    k, v = with_those_before(k), with_those_before(v)
    real = None if real is None else with_those_before(real)
    if before is not None:
        before = Before(*(jnp.repeat(x, count - 1, axis=0) for x in before))
    rest = _attend(Inputs(others(q), k, v, real, reach, second, drop, before))
    return jnp.concatenate([begin, rest.reshape(B, -1, *rest.shape[2:])], axis=1)


def _attend(block: Inputs) -> Float[Array, "B Q H d"]:
    return first_that_takes(WITHIN_A_BLOCK, block).attend(block)


BLOCKS = Way("blocks", takes, blocks)
