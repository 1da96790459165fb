"""The compiled programs of training: updates, the loss of held-out episodes, first weights."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dt.checkpoint.state import TrainState
from dt.model.params import Params
from dt.parallel.mesh import keep, place
from dt.parallel.processes import several
from dt.training.learning import AnyDraw, AnyLearner, Metrics, OnDevice
from dt.training.loss import Masked

SLOTS = 32  # for metrics, whose number is not known before the loop over updates is traced


class Sums(NamedTuple):
    """What the loop over updates carries; the metrics lie side by side, filled up with zeros."""

    totals: Float[Array, " slots"]
    """Over the updates that were not skipped."""
    skipped: Float[Array, ""]
    first_skipped: Int[Array, ""]
    damage: Float[Array, " slots"]
    """What the first skipped one measured."""


class Measured(NamedTuple):
    """What one call of the program measured."""

    means: Metrics
    """Over the updates that were not skipped."""
    latest: Metrics
    """Of the last update."""
    skipped: Float[Array, ""]
    """How many updates were left out."""
    first_skipped: Int[Array, ""]
    """The place in the draw of the first of them; -1 for none."""
    damage: Metrics
    """What that one measured."""


HoldoutLoss: TypeAlias = Callable[[Params, OnDevice, AnyDraw], Float[Array, ""]]


@runtime_checkable
class TrainSteps(Protocol):
    """The compiled program that runs updates of one round."""

    def __call__(
        self,
        state: TrainState,
        steps: OnDevice,
        draw: AnyDraw,
        num_updates: np.ndarray | np.int32,
        first: np.ndarray | np.int32 = ...,
    ) -> tuple[TrainState, Measured]: ...

    def lower(
        self,
        state: TrainState,
        steps: OnDevice,
        draw: AnyDraw,
        num_updates: np.ndarray | np.int32,
        first: np.ndarray | np.int32,
    ) -> jax.stages.Lowered: ...


def make_train_steps(learner: AnyLearner, state_sharding: TrainState | None = None) -> TrainSteps:
    """Make the compiled program that runs updates of one round.

    Its arguments are the state (donated), the data on the device, windows of shape (U, B) for up
    to U updates, how many of the U to run, and the first of them (0 unless given): one program
    serves every round and every part of one. Without the data, the batches themselves stand in the
    windows' place.

    Args:
        state_sharding: how the state lies on the devices (`mesh.shardings`), and shall stay.
    """
    names: list[str] = []  # of the metrics, as the loop's body names them while it is traced

    def train_steps(
        state: TrainState,
        steps: OnDevice,
        draw: AnyDraw,
        num_updates: Int[Array, ""],
        first: Int[Array, ""] | int = 0,
    ) -> tuple[TrainState, Measured]:
        def update(i: Int[Array, ""], carry: tuple[TrainState, Sums]) -> tuple[TrainState, Sums]:
            state, sums = carry
            state, metrics = learner.train_step(state, batch_at(learner, steps, draw, i))
            if state_sharding is not None:  # else the compiler might gather what is shared out
                state = keep(state, state_sharding)
            skipped = metrics.pop("skipped")
            names[:] = metrics
            return state, _add(sums, jnp.stack(list(metrics.values())), skipped, i)

        nothing = Sums(jnp.zeros(SLOTS), jnp.zeros(()), jnp.int32(-1), jnp.zeros(SLOTS))
        state, sums = jax.lax.fori_loop(first, first + num_updates, update, (state, nothing))
        count = jnp.maximum(num_updates - sums.skipped, 1)
        return state, Measured(
            means={name: sums.totals[k] / count for k, name in enumerate(names)},
            latest={"learning_rate": learner.schedule(jnp.maximum(state.step - 1, 0))},
            skipped=sums.skipped,
            first_skipped=sums.first_skipped,
            damage={name: sums.damage[k] for k, name in enumerate(names)},
        )

    out = None if state_sharding is None else (state_sharding, None)
    return jax.jit(train_steps, donate_argnums=0, out_shardings=out)


def make_holdout_loss(learner: AnyLearner) -> HoldoutLoss:
    """Make the compiled program of the mean loss over the real steps of batches, without dropout.

    Its arguments are the parameters, the data on the device, and a draw, as of `make_train_steps`.
    Returns are shown to the model, however often training leaves them out.
    """
    loss = learner.make_loss(training=False)

    def holdout_loss(params: Params, steps: OnDevice, draw: AnyDraw) -> Float[Array, ""]:
        def add(
            sums: tuple[Float[Array, ""], Int[Array, ""]], i: Int[Array, ""]
        ) -> tuple[tuple[Float[Array, ""], Int[Array, ""]], None]:
            batch = batch_at(learner, steps, draw, i)
            total, count = sums
            key = jax.random.fold_in(jax.random.key(learner.config.seed), i)
            is_null = jnp.zeros(len(batch.mask), bool)
            return (
                total + loss(params, batch, is_null, key, jnp.int32(1))[0],
                count + batch.mask.sum(),
            ), None

        num_batches = len(jax.tree.leaves(draw)[0])
        zeros = (jnp.zeros(()), jnp.int32(0))
        (total, count), _ = jax.lax.scan(add, zeros, jnp.arange(num_batches))
        return total / count

    return jax.jit(holdout_loss)


def batch_at(learner: AnyLearner, steps: OnDevice, draw: AnyDraw, i: Int[Array, ""]) -> Masked:
    """Take batch number i of a draw, cut out of the data where the draw says which."""
    return learner.cut(steps, jax.tree.map(lambda field: field[i], draw))


def _add(
    sums: Sums, metrics: Float[Array, " m"], left_out: Float[Array, ""], i: Int[Array, ""]
) -> Sums:
    """Sum over the updates that count; keep all that the first that does not measured."""
    metrics = jnp.pad(metrics, (0, SLOTS - len(metrics)))
    skipped = left_out > 0
    is_first = skipped & (sums.first_skipped < 0)
    return Sums(
        totals=sums.totals + jnp.where(skipped, 0, metrics),
        skipped=sums.skipped + left_out,
        first_skipped=jnp.where(is_first, i, sums.first_skipped),
        damage=jnp.where(is_first, metrics, sums.damage),
    )


def initial_state(learner: AnyLearner, state_sharding: TrainState) -> Callable[[], TrainState]:
    """Begin to compile the program that draws the first weights; the result runs it.

    One program, which can be kept: one for each array would take longer to compile. One process
    compiles it on a thread, while it compiles the updates; of several, each has to come to all
    programs in the same order. It runs once, so the compiler need not try hard.
    """
    hasty = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    init = jax.jit(learner.init, out_shardings=state_sharding, compiler_options=hasty)
    if several():
        return init
    pool = ThreadPoolExecutor(1, thread_name_prefix="compiling")
    compiled = pool.submit(lambda: init.lower().compile())
    pool.shutdown(wait=False)
    return lambda: compiled.result()()


def state_of(params: Params, learner: AnyLearner, state_sharding: TrainState) -> TrainState:
    """Make the state before the first update of weights that are given."""
    params = place(params, state_sharding.params)
    init = jax.jit(learner.optimizer.init, out_shardings=state_sharding.optimizer)
    step = place(jnp.zeros((), jnp.int32), state_sharding.step)
    return TrainState(params, init(params), step)


def with_sharding(shapes: TrainState, state_sharding: TrainState) -> TrainState:
    """Give the compiler what it has to know of a state: shapes, types and where they lie."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        state_sharding,
    )
