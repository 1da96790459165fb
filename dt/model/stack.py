"""Running blocks one after the other: rematerialised, or as a loop over one compiled block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dt.model.block import Block
from dt.model.params import Params
from dt.model.points import BlockPoints, Points, Where

# A block, what comes in, randomness for its dropout, and its points -> what comes out.
Apply: TypeAlias = Callable[[Block, Array, nnx.Rngs | None, BlockPoints | None], Array]
Layer: TypeAlias = Callable[[Array, Params, Array | None], Array]


def run_stack(
    blocks: Sequence[Block],
    x: Float[Array, "B L D"],
    apply: Apply,
    apply_last: Apply,
    rngs: nnx.Rngs | None,
    *,
    remat: bool,
    scan: bool,
    watched: tuple[Points, Where] | None = None,
) -> Float[Array, "B R D"]:
    """Apply all blocks but the last, then the last, each with dropout of its own.

    Args:
        remat: keep only what passes between blocks, and compute the rest again in the backward
            pass.
        scan: compile one block and loop over all but the last; weights are the same.
        watched: what is read and edited in the blocks, and of which tokens; nothing is then
            computed again, whatever `remat` says.
    """
    keys = None if rngs is None else jax.random.split(rngs.dropout(), len(blocks))
    graph, first = nnx.split(blocks[0])
    states = [first, *(nnx.state(block) for block in blocks[1:])]
    loops = scan and len(states) > 2
    if watched is not None:
        merge = partial(nnx.merge, graph)
        return _run_watched(merge, x, states, keys, apply, apply_last, loops, *watched)

    def layer(apply: Apply) -> Layer:
        def run(x: Array, state: Params, key: Array | None) -> Array:
            return apply(nnx.merge(graph, state), x, _rngs_of(key), None)

        return run

    each, last = layer(apply), layer(apply_last)
    if remat:
        each, last = jax.checkpoint(each, prevent_cse=not scan), jax.checkpoint(last)
    loop = _scan if loops else _unroll
    x = loop(each, x, states[:-1], None if keys is None else keys[:-1])
    return last(x, states[-1], None if keys is None else keys[-1])


def _unroll(layer: Layer, x: Array, states: Sequence[Params], keys: Array | None) -> Array:
    for i, state in enumerate(states):
        x = layer(x, state, None if keys is None else keys[i])
    return x


def _scan(layer: Layer, x: Array, states: Sequence[Params], keys: Array | None) -> Array:
    return jax.lax.scan(lambda x, each: (layer(x, *each), None), x, (_stacked(states), keys))[0]


def _run_watched(
    merge: Callable[[Params], Block],
    x: Array,
    states: Sequence[Params],
    keys: Array | None,
    apply: Apply,
    apply_last: Apply,
    loops: bool,
    points: Points,
    where: Where,
) -> Array:
    """Do the same while values at points are read and edited."""

    def run(x: Array, state: Params, key: Array | None, here: BlockPoints, last: bool) -> Array:
        return (apply_last if last else apply)(merge(state), x, _rngs_of(key), here)

    begin, end = 0, len(states) - 1
    if loops:
        layers = range(end)

        def step(
            x: Array, each: tuple[Params, Array | None, Array]
        ) -> tuple[Array, dict[str, Array]]:
            state, key, layer = each
            here = points.of_scanned(layers, layer, where)
            return run(x, state, key, here, False), here.seen

        several = _stacked(states[:end]), None if keys is None else keys[:end], jnp.arange(end)
        x, seen = jax.lax.scan(step, x, several)
        for layer in layers:
            points.note(layer, {part: values[layer] for part, values in seen.items()})
        begin = end
    for layer in range(begin, len(states)):
        here = points.of_block(layer, where)
        key = None if keys is None else keys[layer]
        x = run(x, states[layer], key, here, layer == end)
        points.note(layer, here.seen)
    return x


def _stacked(states: Sequence[Params]) -> Params:
    # Stacked here rather than in the model, so that checkpoints do not depend on it.
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def _rngs_of(key: Array | None) -> nnx.Rngs | None:
    return None if key is None else nnx.Rngs(dropout=key)
