"""The causal transformer over whole segments, as in training.

Axes: B batch, T timesteps, n tokens a timestep, L = P + T * n tokens with the P of a prefix, D
width, R timesteps that are read, H heads, d head size. A token attends to itself and the tokens
before it of the last `context_length` timesteps; in a recipe that is not `cached`, of the whole
segment.
"""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.config import ModelConfig
from dt.model.attention import attend, attend_within
from dt.model.attention.mask import Before, Prefix, Reach
from dt.model.attention.way import Drop
from dt.model.block import Attend, Block
from dt.model.dropout import dropout_in_training
from dt.model.points import FINAL, FIRST, BlockPoints, Points
from dt.model.recipe import recipe_of
from dt.model.stack import run_stack, run_watched


class Transformer(nnx.Module):
    """Blocks and a last norm, between the embedding's vectors and the heads'."""

    def __init__(
        self, config: ModelConfig, tokens_per_step: int, num_prefix: int = 0, *, rngs: nnx.Rngs
    ):
        """Make the blocks.

        Args:
            num_prefix: tokens that stand before the sequence, for all of it to see.
        """
        recipe = recipe_of(config)
        self.config = config
        self.tokens_per_step, self.num_prefix = tokens_per_step, num_prefix
        self.window = config.context_length
        self.banded = recipe.cached
        self.attends = self.window * tokens_per_step + num_prefix > 1
        self.blocks = nnx.List(
            [Block(config, self.attends, rngs=rngs) for _ in range(config.num_layers)]
        )
        self.norm = recipe.norm(config.width, rngs=rngs)

    def __call__(
        self,
        tokens: Float[Array, "B T n D"],
        mask: Bool[Array, "B T"] | None,
        reads: tuple[int, ...],
        *,
        condition: Float[Array, "B T D"] | None = None,
        newest: bool = False,
        prefix: Prefix | None = None,
        rngs: nnx.Rngs | None = None,
        points: Points | None = None,
        timesteps: Int[Array, "B T"] | None = None,
    ) -> tuple[Float[Array, "B R D"], ...]:
        """Run a whole segment at once.

        Args:
            mask: real timesteps; no token attends to padding, on whichever side it lies. None:
                padding, if any, stands last, where causality hides it at no cost.
            reads: the places, within a timestep, of the tokens whose outputs are wanted.
            condition: what modulates each timestep's tokens, where the blocks are adaptive.
            newest: read the last timestep alone; R is then 1 instead of T.
            prefix: the tokens that stand before all others.
            rngs: for dropout; without them the model is deterministic.
            points: what is read and edited inside; the last block then computes the outputs of
                all tokens, not only of those that are wanted.
            timesteps: of the segment, by which edits know theirs; given with `points`.

        Returns:
            The outputs of each of `reads`, in their order, float32.
        """
        B, T, n, D = tokens.shape
        # Timesteps are consecutive within a segment, so the window can be counted in positions.
        reach = Reach(self.window if self.banded else T, n)
        x = tokens.reshape(B, T * n, D)
        if prefix is not None:
            x = jnp.concatenate([prefix.vectors, x], axis=1)
        x = dropout_in_training(x.astype(self.config.dtype), self.config.dropout, rngs)
        if condition is not None:
            condition = jnp.repeat(condition, n, axis=1).astype(self.config.dtype)
            condition = jnp.pad(condition, ((0, 0), (self.num_prefix, 0), (0, 0)))
        wanted = self._positions(T, reads, newest)
        attend_from = partial(
            _attend_in_segment,
            mask=mask,
            reach=reach,
            prefix=None if prefix is None else prefix.real,
        )

        def run(block: Block, x: Array, rngs: nnx.Rngs | None) -> Array:
            attend = partial(attend_from, queries=np.arange(T * n))
            return block(x, attend, condition, None, rngs)[0]

        def run_last(block: Block, x: Array, rngs: nnx.Rngs | None) -> Array:
            attend = partial(attend_from, queries=wanted)
            return block(x, attend, condition, wanted + self.num_prefix, rngs)[0]

        remat, scan, blocks = self.config.remat, self.config.scan_layers, list(self.blocks)
        if points is None:
            x = run_stack(blocks, x, run, run_last, rngs, remat=remat, scan=scan)
            x = self.norm(x).astype(jnp.float32)
        else:
            assert timesteps is not None and rngs is None, "points have timesteps and no dropout"
            attend = partial(attend_from, queries=np.arange(T * n))
            x = self._watched(x, attend, condition, points, timesteps)
            x = x[:, wanted + self.num_prefix]
        order = sorted(reads)
        return tuple(x[:, order.index(read) :: len(reads)] for read in reads)

    def _watched(
        self,
        x: Float[Array, "B L D"],
        attend: Attend[None],
        condition: Float[Array, "B L D"] | None,
        points: Points,
        timesteps: Int[Array, "B T"],
    ) -> Float[Array, "B L D"]:
        """Compute the outputs of all tokens, while values inside are read and edited."""
        where = points.where(*self._coordinates(timesteps))

        def run(block: Block, x: Array, here: BlockPoints) -> Array:
            return block(x, attend, condition, None, None, here)[0]

        x = points.at(FIRST, x, where)
        scan = self.config.scan_layers
        x = run_watched(list(self.blocks), x, run, points, where, scan=scan)
        return points.at(FINAL, self.norm(x).astype(jnp.float32), where)

    def _coordinates(
        self, timesteps: Int[Array, "B T"]
    ) -> tuple[Int[Array, "B L"], Int[np.ndarray, " L"]]:
        """Timesteps and places of all tokens; -1 for those of a prefix."""
        n, before = self.tokens_per_step, ((0, 0), (self.num_prefix, 0))
        times = jnp.pad(jnp.repeat(timesteps, n, axis=1), before, constant_values=-1)
        places = np.tile(np.arange(n), timesteps.shape[1])
        return times, np.pad(places, before[1], constant_values=-1)

    def _positions(
        self, num_steps: int, reads: tuple[int, ...], newest: bool
    ) -> Int[np.ndarray, " R"]:
        """Where the tokens to be read stand; in order, as attention expects them."""
        n = self.tokens_per_step
        each = [np.arange(place, num_steps * n, n)[-1 if newest else 0 :] for place in reads]
        return np.sort(np.concatenate(each))


def _attend_in_segment(
    q: Float[Array, "B R H d"],
    k: Float[Array, "B L H d"],
    v: Float[Array, "B L H d"],
    drop: Drop | None,
    *,
    mask: Bool[Array, "B T"] | None,
    reach: Reach,
    queries: Int[np.ndarray, " Q"],
    prefix: Bool[Array, "B P"] | None,
) -> tuple[Float[Array, "B R H d"], None]:
    """Attend to the segment and what stands before it; nothing is remembered.

    Args:
        queries: positions of the sequence's queries, which are the last of `q`. Those before
            them are the prefix's, where its outputs are to be computed too.
        prefix: which of the first P keys are there, that stand before the sequence.
    """
    before, own = None, q.shape[1] - len(queries)
    if prefix is not None:
        P = prefix.shape[1]
        before = Before(k[:, :P], v[:, :P], prefix)
        k, v = k[:, P:], v[:, P:]
    mixed = attend(q[:, own:], k, v, mask, reach, queries, drop, before)
    if own:
        assert before is not None
        mixed = jnp.concatenate([attend_within(q[:, :own], before, drop), mixed], axis=1)
    return mixed, None
