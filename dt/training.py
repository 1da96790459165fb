"""How does a run get from update 0 to the last, and stop early without loss?"""

from __future__ import annotations

import itertools
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dt.checkpoint import Checkpointer, complete_steps, restore_state, write_json
from dt.config import TrainConfig, to_json
from dt.data.rows import TrainingData
from dt.feeding import Feed
from dt.learner import Learner, TrainState
from dt.metrics import MetricWriter
from dt.sharding import make_mesh, place, replicated, usable_devices
from dt.spec import PolicySpec

# May differ between a run and its continuation; everything else decides the weights. The log
# interval does too: it shapes the compiled program, and other programs round differently.
FREE_ON_RESUME = (
    "resume",
    "run_dir",
    "checkpoint_interval",
    "keep_checkpoints",
    "data.cache",
)

CONFIG = "config.json"


def train(
    spec: PolicySpec,
    data: TrainingData,
    config: TrainConfig,
    run_dir: Path,
    *,
    say: Callable[[str], None] = print,
    on_round: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
    measure: Callable[[TrainState], float] | None = None,
) -> TrainState:
    """Run the updates that are left, logging and saving on the way; the last state is saved.

    The result depends on the data, the configuration and the seed alone: not on where saves fall,
    nor on interruptions. SIGINT and SIGTERM end the round under way, save, and raise
    KeyboardInterrupt.

    Args:
        on_round: called with the updates done and the round's mean metrics.
        measure: called every `evaluation.interval` updates; the lowest value's state is kept as
            the best.
    """
    learner = Learner(spec, config)
    mesh = make_mesh(usable_devices(config.data.num_segments // config.data.num_micro_batches))
    state = learner.init()
    if config.resume and complete_steps(run_dir / "checkpoints"):
        state = restore_state(run_dir, learner, say)
    elif config.resume:
        say(f"{run_dir}: stopped before its first checkpoint; starting from update 0")
    state = place(state, replicated(mesh))
    feed = Feed(data, spec, config, mesh)
    train_steps = learner.make_train_steps()
    done = int(state.step)
    checkpointer = Checkpointer(run_dir, spec, config.keep_checkpoints)
    writer = MetricWriter(run_dir, resume_at=done if config.resume else None)
    try:
        with _deferred_signals() as interrupted:
            while done < config.num_steps and not interrupted:
                end = _round_end(done, config, feed.updates_per_round)
                begin = time.perf_counter()
                state, means = train_steps(
                    state, feed.steps, feed.round(done, end), np.int32(end - done)
                )
                metrics = {name: float(value) for name, value in means.items()}
                metrics["updates_per_second"] = (end - done) / (time.perf_counter() - begin)
                done = end
                if not np.isfinite([metrics["loss"], metrics["grad_norm"]]).all():
                    raise ValueError(
                        f"loss {metrics['loss']}, gradient {metrics['grad_norm']} in the updates "
                        f"up to {done}; lower --optimizer.learning-rate (nothing of it is saved)"
                    )
                writer.write(done, metrics)
                on_round(done, metrics)
                interval = config.evaluation.interval
                if measure is not None and interval and done % interval == 0:
                    checkpointer.save(state)  # before the card, which takes its time
                    checkpointer.save(state, measure(state))
                elif done % config.checkpoint_interval == 0:
                    checkpointer.save(state)
            checkpointer.save(state)
            if interrupted:
                checkpointer.wait()
                raise KeyboardInterrupt(
                    f"stopped at update {done} of {config.num_steps}, saved; --resume continues"
                )
    finally:
        feed.close()
        checkpointer.wait()
        writer.close()
    return state


def open_run(preset: str, config: TrainConfig) -> Path:
    """The run's directory: made for a new run, checked against this configuration for a resumed.

    Raises:
        ValueError: when it is taken, missing, or its configuration differs.
    """
    if config.resume:
        run_dir = Path(config.run_dir) if config.run_dir else _newest_run(preset)
        _check_same(run_dir, config)
        return run_dir
    if not config.run_dir:
        return _claim_run(preset)
    run_dir = Path(config.run_dir)
    if complete_steps(run_dir / "checkpoints"):
        raise ValueError(
            f"--run-dir {run_dir}: already holds a run; continue it with --resume, or name another"
        )
    run_dir.mkdir(parents=True, exist_ok=True)
    return run_dir


def write_config(run_dir: Path, preset: str, config: TrainConfig) -> None:
    write_json(run_dir / CONFIG, {"preset": preset, **to_json(config)})


def _claim_run(preset: str) -> Path:
    """The first of runs/PRESET, runs/PRESET-2, ... that nobody has; making it claims it."""
    for number in itertools.count(1):
        run_dir = Path("runs") / (preset if number == 1 else f"{preset}-{number}")
        try:
            run_dir.mkdir(parents=True)
            return run_dir
        except FileExistsError:
            continue
    raise AssertionError("unreachable")


def _newest_run(preset: str) -> Path:
    numbers = {1: Path("runs") / preset}
    for path in Path("runs").glob(f"{preset}-*"):
        suffix = path.name.removeprefix(f"{preset}-")
        if suffix.isdigit():
            numbers[int(suffix)] = path
    return numbers[max(numbers)]


def _check_same(run_dir: Path, config: TrainConfig) -> None:
    path = run_dir / CONFIG
    if not path.exists():
        raise ValueError(f"--run-dir {run_dir}: no run to resume there; train without --resume")
    before = json.loads(path.read_text())
    before.pop("preset", None)
    now = json.loads(json.dumps(to_json(config)))
    for name, old, new in _differences(before, now):
        if name not in FREE_ON_RESUME and not name.startswith("evaluation."):
            raise ValueError(
                f"--resume with {name} {new}, but {run_dir} was trained with {old}; "
                f"give the same value, or start another run"
            )


def _differences(
    before: dict[str, Any], now: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    for key in now:
        old, new = before.get(key), now[key]
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}", old, new


def _round_end(done: int, config: TrainConfig, most: int) -> int:
    """Rounds end where something is due: a log line, a checkpoint, a card, or the run's end."""
    intervals = [config.log_interval, config.checkpoint_interval, config.evaluation.interval]
    ends = [done + interval - done % interval for interval in intervals if interval]
    return min([*ends, config.num_steps, done + most])


@contextmanager
def _deferred_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying; a second SIGINT interrupts at once."""
    received: list[int] = []

    def note(number: int, frame: Any) -> None:
        if number == signal.SIGINT and received:
            raise KeyboardInterrupt
        received.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: whoever owns it decides about signals
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
