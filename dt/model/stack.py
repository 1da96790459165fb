"""Running blocks one after the other: rematerialised, or as a loop over one compiled block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dt.model.params import Params
from dt.model.points import BlockPoints, Points, Where

Block = TypeVar("Block", bound=nnx.Module)
# A block, what comes in, and randomness for its dropout -> what comes out.
Apply: TypeAlias = Callable[[Block, Array, nnx.Rngs | None], Array]
# A block, what comes in, and its points -> what comes out.
ApplyWatched: TypeAlias = Callable[[Block, Array, BlockPoints], Array]
Layer: TypeAlias = Callable[[Array, Params, Array | None], Array]


def run_stack(
    blocks: Sequence[Block],
    x: Float[Array, "B L D"],
    apply: Apply[Block],
    apply_last: Apply[Block],
    rngs: nnx.Rngs | None,
    *,
    remat: bool,
    scan: bool,
) -> Float[Array, "B R D"]:
    """Apply all blocks but the last, then the last, each with dropout of its own.

    Args:
        remat: keep only what passes between blocks, and compute the rest again in the backward
            pass.
        scan: compile one block and loop over all but the last; weights are the same.
    """
    keys = None if rngs is None else jax.random.split(rngs.dropout(), len(blocks))
    graph, first = nnx.split(blocks[0])
    states = [first, *(nnx.state(block) for block in blocks[1:])]

    def layer(apply: Apply[Block]) -> Layer:
        def run(x: Array, state: Params, key: Array | None) -> Array:
            rngs = None if key is None else nnx.Rngs(dropout=key)
            return apply(nnx.merge(graph, state), x, rngs)

        return run

    each, last = layer(apply), layer(apply_last)
    if remat:
        each, last = jax.checkpoint(each, prevent_cse=not scan), jax.checkpoint(last)
    loop = _scan if scan and len(states) > 2 else _unroll
    x = loop(each, x, states[:-1], None if keys is None else keys[:-1])
    return last(x, states[-1], None if keys is None else keys[-1])


def run_watched(
    blocks: Sequence[Block],
    x: Float[Array, "B L D"],
    apply: ApplyWatched[Block],
    points: Points,
    where: Where,
    *,
    scan: bool,
) -> Float[Array, "B L D"]:
    """Apply all blocks, of which values are read and edited; nothing is dropped or computed again.

    Args:
        where: the tokens of x.
    """
    graph, _ = nnx.split(blocks[0])
    states = [nnx.state(block) for block in blocks]
    begin, end = 0, len(states) - 1
    if scan and len(states) > 2:
        layers = range(end)

        def step(x: Array, each: tuple[Params, Array]) -> tuple[Array, dict[str, Array]]:
            here = points.of_scanned(layers, each[1], where)
            return apply(nnx.merge(graph, each[0]), x, here), here.seen

        x, seen = jax.lax.scan(step, x, (_stacked(states[:end]), jnp.arange(end)))
        for layer in layers:
            points.note(layer, {part: values[layer] for part, values in seen.items()})
        begin = end
    for layer in range(begin, len(states)):
        here = points.of_block(layer, where)
        x = apply(nnx.merge(graph, states[layer]), x, here)
        points.note(layer, here.seen)
    return x


def _unroll(layer: Layer, x: Array, states: Sequence[Params], keys: Array | None) -> Array:
    for i, state in enumerate(states):
        x = layer(x, state, None if keys is None else keys[i])
    return x


def _scan(layer: Layer, x: Array, states: Sequence[Params], keys: Array | None) -> Array:
    return jax.lax.scan(lambda x, each: (layer(x, *each), None), x, (_stacked(states), keys))[0]


def _stacked(states: Sequence[Params]) -> Params:
    # Stacked here rather than in the model, so that checkpoints do not depend on it.
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
