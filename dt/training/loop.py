"""The course of a run: from update 0, or where it was stopped, to the last, without loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import jax
import jax.numpy as jnp

from dt.checkpoint.manifest import complete_steps
from dt.checkpoint.restore import restore_state, with_weights_of
from dt.checkpoint.save import Checkpointer
from dt.checkpoint.state import TrainState
from dt.config import RunConfig, TrainConfig
from dt.data.store.rows import TrainingData
from dt.parallel.mesh import Mesh, make_mesh, shardings, usable_devices
from dt.parallel.processes import first_decides, is_first, largest, several
from dt.spec.spec import PolicySpec
from dt.training.feed import Feed
from dt.training.hooks import Evaluation, Hooks, Means, Measure, ignore
from dt.training.learning import AnyFeed, AnyLearner
from dt.training.metrics import MetricWriter
from dt.training.program import (
    initial_state,
    make_holdout_loss,
    make_train_steps,
    state_of,
    with_sharding,
)
from dt.training.rounds import Updates
from dt.training.signals import Signals, deferred_signals
from dt.training.step import Learner
from dt.training.trackers import trackers_of
from dt.training.warm_start import source_folder


def train(
    spec: PolicySpec,
    data: TrainingData,
    config: TrainConfig,
    run_dir: Path,
    *,
    hooks: Hooks | None = None,
    measure: Measure | None = None,
) -> TrainState:
    """Train a decision transformer on episodes, as `train_learner` does.

    Raises:
        ValueError, OSError, KeyboardInterrupt: as `train_learner`.
    """
    learner = Learner(spec, config)

    def feed(mesh: Mesh) -> Feed:
        return Feed(data, spec, config, mesh)

    return train_learner(learner, feed, run_dir, hooks=hooks, measure=measure)


def train_learner(
    learner: AnyLearner,
    make_feed: Callable[[Mesh], AnyFeed],
    run_dir: Path,
    *,
    hooks: Hooks | None = None,
    measure: Measure | None = None,
) -> TrainState:
    """Run the updates that are left, logging and saving on the way; the last state is saved.

    The result depends on the data, the configuration and the seed alone: not on where saves fall,
    nor on interruptions. SIGINT and SIGTERM end the updates under way, save, and raise
    KeyboardInterrupt. The directory is the caller's alone (`dt.training.run_directory.locked`).

    Args:
        measure: called every `evaluation.interval` updates, in every process; what the first one's
            says is logged, and the state with its lowest error kept as the best; None measures
            nothing.

    Raises:
        ValueError: for a loss or gradient that is not finite, naming the update and its batch.
        OSError: when the disk is full; what was saved before stays.
    """
    config = learner.config
    hooks = hooks or Hooks()
    hooks = hooks if is_first() else dataclasses.replace(hooks, on_message=ignore)
    mesh = _mesh_of_all(config)
    shapes = jax.eval_shape(learner.init)
    state_sharding = shardings(shapes, mesh, learner.divided)
    done, first_state = _first_state(learner, run_dir, state_sharding, hooks)
    with ExitStack() as stack:
        feed = make_feed(mesh)
        stack.callback(feed.close)
        if is_first():
            trackers = (*hooks.trackers, *trackers_of(run_dir, config))
            writer = MetricWriter(run_dir, done if config.resume else None, trackers)
            stack.callback(writer.close)
            hooks = _written(hooks, writer)
        else:
            hooks = dataclasses.replace(hooks, on_round=ignore, on_evaluation=ignore)
        checkpointer = Checkpointer(run_dir, learner.spec, config.keep_checkpoints)
        stack.callback(checkpointer.wait)
        train_steps = make_train_steps(learner, state_sharding)
        holdout_loss = make_holdout_loss(learner)
        updates = Updates(train_steps, holdout_loss, done, feed, config, hooks)
        updates.begin(with_sharding(shapes, state_sharding), first_state)
        if hooks.on_start is not None:
            hooks.on_start(learner, jax.tree.map(jnp.copy, updates.state), feed)
        signals = stack.enter_context(deferred_signals())
        _run(updates, checkpointer, signals, measure)
    return updates.state


def _run(
    updates: Updates, checkpointer: Checkpointer, signals: Signals, measure: Measure | None
) -> None:
    """Run updates to the last, or until a signal comes, and save the state."""
    config = updates.config

    def stopped() -> str:
        return f"stopped at update {updates.done} of {config.num_steps}, saved; --resume continues"

    while updates.done < config.num_steps and not largest(bool(signals.received)):
        if not updates.run_some():
            continue
        interval = config.card_interval
        if measure is not None and interval and updates.done % interval == 0:
            updates.settle()  # nothing is saved that is not known to be sound
            checkpointer.save(updates.state)
            checkpointer.wait()  # the card takes its time, and may be cut short
            with signals.answered_at_once(stopped()):
                evaluation = measure(updates.state)
            checkpointer.save(updates.state, None if evaluation is None else evaluation.error)
            if evaluation is not None:
                updates.hooks.on_evaluation(updates.done, evaluation)
        elif updates.done % config.checkpoint_interval == 0:
            updates.settle()
            checkpointer.save(updates.state)
    updates.settle()
    checkpointer.save(updates.state)
    checkpointer.wait()
    if largest(bool(signals.received)):
        raise KeyboardInterrupt(stopped())


def _first_state(
    learner: AnyLearner, run_dir: Path, state_sharding: TrainState, hooks: Hooks
) -> tuple[int, Callable[[], TrainState]]:
    """Count the updates that are done already, and find what gives the state after them."""
    if not learner.config.resume:
        return 0, _beginning(learner, state_sharding)
    if first_decides(lambda: bool(complete_steps(run_dir / "checkpoints"))):
        like = jax.eval_shape(learner.init)
        restored = restore_state(run_dir, like, learner.spec, hooks.on_message, state_sharding)
        return int(restored.step), lambda: restored
    hooks.on_message(f"{run_dir}: stopped before its first checkpoint; starting from update 0")
    return 0, _beginning(learner, state_sharding)


def _beginning(learner: AnyLearner, state_sharding: TrainState) -> Callable[[], TrainState]:
    """Find what gives the state before the first update: random weights, given ones, a run's."""
    given = learner.given()
    if given is not None:
        return lambda: state_of(given, learner, state_sharding)
    fresh = initial_state(learner, state_sharding)
    if not learner.config.init_from:
        return fresh
    folder = source_folder(learner.config.init_from)
    return lambda: with_weights_of(folder, fresh(), state_sharding)


def _written(hooks: Hooks, writer: MetricWriter) -> Hooks:
    """Make hooks that write numbers to the log first."""

    def on_round(done: int, means: Means) -> None:
        writer.write(done, means)
        hooks.on_round(done, means)

    def on_evaluation(done: int, evaluation: Evaluation) -> None:
        writer.write(done, evaluation.values, evaluation.texts, evaluation.pictures)
        if evaluation.summary:
            hooks.on_message(f"update {done}: {evaluation.summary}")
        hooks.on_evaluation(done, evaluation)

    return dataclasses.replace(hooks, on_round=on_round, on_evaluation=on_evaluation)


def _mesh_of_all(config: RunConfig) -> Mesh:
    """Make the configured mesh; of several processes, each must have its part in it."""
    rows = config.num_rows // config.num_micro_batches
    devices = usable_devices(rows, config.mesh)
    if several() and len(devices) < jax.device_count():
        raise ValueError(
            f"data.batch_size makes {rows} rows a micro-batch, which do not "
            f"divide over the {jax.device_count()} devices of {jax.process_count()} processes; "
            f"make the rows a multiple of that, or set --mesh.model"
        )
    return make_mesh(devices, config.mesh)
