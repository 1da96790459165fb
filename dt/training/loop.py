"""How does a run get from update 0 to the last, and stop early without loss?"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dt.checkpoint.manifest import complete_steps
from dt.checkpoint.restore import restore_state
from dt.checkpoint.save import Checkpointer
from dt.checkpoint.state import TrainState
from dt.config import TrainConfig
from dt.data.store.rows import TrainingData
from dt.model.parameter_names import DIVIDED
from dt.parallel.mesh import Mesh, make_mesh, shardings, usable_devices
from dt.parallel.processes import first_decides, is_first, largest, several
from dt.spec.spec import PolicySpec
from dt.training.feed import Feed
from dt.training.metrics import MetricWriter
from dt.training.rounds import Updates
from dt.training.step import Learner


def train(
    spec: PolicySpec,
    data: TrainingData,
    config: TrainConfig,
    run_dir: Path,
    *,
    say: Callable[[str], None] = print,
    on_round: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
    measure: Callable[[TrainState], float | None] | None = None,
    profile: Callable[[Learner, TrainState, Feed], None] | None = None,
) -> TrainState:
    """Run the updates that are left, logging and saving on the way; the last state is saved.

    The result depends on the data, the configuration and the seed alone: not on where saves fall,
    nor on interruptions. SIGINT and SIGTERM end the updates under way, save, and raise
    KeyboardInterrupt. The directory is the caller's alone (`dt.training.run_directory.locked`).

    Args:
        on_round: called with the updates done and their mean metrics since the last call.
        measure: called every `evaluation.interval` updates, in every process; the state with the
            first one's lowest value is kept as the best; None measures nothing.
        profile: called once, before the first update, with a copy of the state.

    Raises:
        ValueError: for a loss or gradient that is not finite, naming the update and its batch.
        OSError: when the disk is full; what was saved before stays.
    """
    say = say if is_first() else _say_nothing
    learner = Learner(spec, config)
    mesh = _mesh_of_all(config)
    empty = jax.eval_shape(learner.init)
    layout = shardings(empty, mesh, DIVIDED)
    begin: Callable[[], TrainState]
    if config.resume and first_decides(lambda: bool(complete_steps(run_dir / "checkpoints"))):
        restored = restore_state(run_dir, jax.eval_shape(learner.init), learner.spec, say, layout)
        done, begin = int(restored.step), lambda: restored
    else:
        if config.resume:
            say(f"{run_dir}: stopped before its first checkpoint; starting from update 0")
        done, begin = 0, _initial_state(learner, layout)
    with ExitStack() as stack:
        feed = Feed(data, spec, config, mesh)
        stack.callback(feed.close)
        writer = None
        if is_first():
            writer = MetricWriter(run_dir, resume_at=done if config.resume else None)
            stack.callback(writer.close)
        checkpointer = Checkpointer(run_dir, spec, config.keep_checkpoints)
        stack.callback(checkpointer.wait)

        def log(done: int, means: dict[str, float]) -> None:
            if writer is not None:
                writer.write(done, means)
                on_round(done, means)

        train_steps = learner.make_train_steps(layout)
        updates = Updates(train_steps, done, begin, _like(empty, layout), feed, config, say, log)
        if profile is not None:
            profile(learner, jax.tree.map(jnp.copy, updates.state), feed)

        def note() -> str:
            return f"stopped at update {updates.done} of {config.num_steps}, saved"

        signals = stack.enter_context(_deferred_signals())
        while updates.done < config.num_steps and not largest(bool(signals.received)):
            if not updates.run_some():
                continue
            interval = config.evaluation.interval
            if measure is not None and interval and updates.done % interval == 0:
                updates.settle()  # nothing is saved that is not known to be sound
                checkpointer.save(updates.state)
                checkpointer.wait()  # the card takes its time, and may be cut short
                with signals.answered_at_once(note()):
                    metric = measure(updates.state)
                checkpointer.save(updates.state, metric)
            elif updates.done % config.checkpoint_interval == 0:
                updates.settle()
                checkpointer.save(updates.state)
        updates.settle()
        checkpointer.save(updates.state)
        checkpointer.wait()
        if largest(bool(signals.received)):
            raise KeyboardInterrupt(f"{note()}; --resume continues")
    return updates.state


def _initial_state(learner: Learner, layout: Any) -> Callable[[], TrainState]:
    """Drawn by one program, which can be kept; one for each array would take longer to compile.

    One process compiles it on a thread, while it compiles the updates; of several, each has to come
    to all programs in the same order. It runs once, so the compiler need not try hard.
    """
    hasty = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    init = jax.jit(learner.init, out_shardings=layout, compiler_options=hasty)
    if several():
        return init
    pool = ThreadPoolExecutor(1, thread_name_prefix="compiling")
    compiled = pool.submit(lambda: init.lower().compile())
    pool.shutdown(wait=False)
    return lambda: compiled.result()()


def _like(empty: TrainState, layout: Any) -> TrainState:
    """What the compiler has to know of a state."""

    def known(leaf: jax.ShapeDtypeStruct, place: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)

    return jax.tree.map(known, empty, layout)


def _mesh_of_all(config: TrainConfig) -> Mesh:
    """The configured mesh; of several processes, each must have its part in it."""
    rows = config.data.num_segments // config.data.num_micro_batches
    devices = usable_devices(rows, config.mesh)
    if several() and len(devices) < jax.device_count():
        raise ValueError(
            f"data.batch_size {config.data.batch_size} is {rows} rows a micro-batch, which do not "
            f"divide over the {jax.device_count()} devices of {jax.process_count()} processes; "
            f"make the rows a multiple of that, or set --mesh.model"
        )
    return make_mesh(devices, config.mesh)


def _say_nothing(line: str) -> None:
    """What processes but the first have to say: the first says the same."""


class _Signals:
    """SIGINT and SIGTERM as they come in; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._message: str | None = None

    def note(self, number: int, frame: Any) -> None:
        again = number == signal.SIGINT and bool(self.received)
        self.received.append(number)
        if again or self._message is not None:
            raise KeyboardInterrupt(self._message or "stopped")

    @contextmanager
    def answered_at_once(self, message: str) -> Iterator[None]:
        """For work that can be dropped: a signal ends it, and one that came before forbids it."""
        self._message = f"{message}; --resume continues"
        try:
            if self.received:
                raise KeyboardInterrupt(self._message)
            yield
        finally:
            self._message = None


@contextmanager
def _deferred_signals() -> Iterator[_Signals]:
    """Collect SIGINT and SIGTERM instead of dying of them."""
    signals = _Signals()
    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        before = {number: signal.signal(number, signals.note) for number in numbers}
    except ValueError:  # not the main thread: whoever owns it decides about signals
        yield signals
        return
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
