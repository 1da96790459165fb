"""The directory of a run: claimed or found, its configuration, its lock."""

from __future__ import annotations

import itertools
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dt import files
from dt.checkpoint.manifest import complete_steps
from dt.config import RunConfig, to_json
from dt.config.checks import Count, check_bounds
from dt.config.presets import REWARD
from dt.files import (
    read_json,
    reading,
    refuse_links_out,
    shown,
    structured,
    write_json,
    written_whole,
)

# May differ between a run and its continuation; everything else decides the weights. The log
# interval does too: it shapes the compiled program, and other programs round differently.
FREE_ON_RESUME = (
    "resume",
    "run_dir",
    "checkpoint_interval",
    "keep_checkpoints",
    "profile",
    "data.cache",
    "on_nonfinite",  # what becomes of damage, not what a sound update computes
    "num_steps",  # may grow: see `_check_budget`
)
FREE_PARTS = ("evaluation.", "distributed.", "mesh.", "log.")

CONFIG = "config.json"
LOCK = "lock"
HOLDER = "lock.holder"  # not the lock itself: whoever tries that one may empty it


def open_run(preset: str, config: RunConfig) -> Path:
    """Make the directory of a new run, or check that of a resumed one against its configuration.

    Raises:
        ValueError: when it is taken, missing, or its configuration differs.
    """
    if config.resume:
        run_dir = named_or_newest(preset, config.run_dir)
        _check_same(run_dir, config)
        refuse_links_out(run_dir, run_dir.iterdir())  # metrics.jsonl and others are written to
        return run_dir
    if not config.run_dir:
        return _claim_run(preset)
    run_dir = Path(config.run_dir)
    refuse_trained(run_dir)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"--run-dir {run_dir}: no directory can be made there ({error.strerror}); name another"
        ) from error
    return run_dir


def refuse_trained(run_dir: Path) -> None:
    """Refuse a directory whose checkpoints a new run would overwrite.

    Raises:
        ValueError: naming it.
    """
    if complete_steps(run_dir / "checkpoints"):
        raise ValueError(
            f"--run-dir {run_dir}: already holds a run; continue it with --resume, or name another"
        )


def write_config(run_dir: Path, preset: str, config: RunConfig) -> None:
    """Write config.json: the preset's name, and every option of the run."""
    write_json(run_dir / CONFIG, {"preset": preset, **to_json(config)})


def named_or_newest(preset: str, run_dir: str) -> Path:
    """Find the directory of a run that is to be resumed; without a name, the preset's newest."""
    return Path(run_dir) if run_dir else _newest_run(preset)


def recorded(preset: str, run_dir: str) -> dict[str, Any]:
    """Read config.json of a run that is to be resumed; empty where there is none.

    Args:
        run_dir: its directory; empty: the newest of the preset.
    """
    path = named_or_newest(preset, run_dir) / CONFIG
    return _read_config(path) if path.is_file() else {}


def _read_config(path: Path) -> dict[str, Any]:
    """Read what `write_config` wrote; what other versions know beside it is left there.

    Raises:
        ValueError: naming the file, and the option that is of another type.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise ValueError(f"{path}: holds no options by name; it is no run's")
    with reading(path):
        structured(_Recorded, {"num_steps": values.get("num_steps", RunConfig.num_steps)})
    return values


def is_text_run(run_dir: Path) -> bool:
    """Tell whether a run directory is one on text, by its configuration."""
    return "text" in _options_of(run_dir)


def is_reward_run(run_dir: Path) -> bool:
    """Tell whether a run directory is a reward model's, by its configuration."""
    return _options_of(run_dir).get("preset") == REWARD


def _options_of(run_dir: Path) -> dict[str, Any]:
    """Read the options of a run that may be none; empty where there are none."""
    path = run_dir / CONFIG
    values = read_json(path) if path.is_file() else {}
    return values if isinstance(values, dict) else {}


@dataclass(frozen=True)
class _Recorded:
    """What a resumed run takes from its configuration."""

    num_steps: Count

    def __post_init__(self) -> None:
        check_bounds(self)


def extend(run_dir: Path, config: RunConfig) -> str:
    """Write into config.json how many updates a resumed run shall have, where they are more now.

    Returns:
        What there is to say of it; empty where the number is the same.
    """
    values = _read_config(run_dir / CONFIG)
    asked = values.get("num_steps", RunConfig.num_steps)
    if config.num_steps == asked:
        return ""
    write_json(run_dir / CONFIG, {**values, "num_steps": config.num_steps})
    rate = "the learning rate stays constant"
    if config.optimizer.schedule == "cosine":
        rate = (
            f"from where it resumes, the learning rate follows the cosine over all "
            f"{config.num_steps}, and so may rise at once"
        )
    return f"the run has {config.num_steps} updates now, {asked} before; {rate}"


@contextmanager
def locked(run_dir: Path, say: Callable[[str], None] = print) -> Iterator[None]:
    """Keep every other process out of the directory for as long as this one works in it.

    Raises:
        ValueError: naming the process that has it.
    """
    holder = run_dir / HOLDER
    with ExitStack() as stack:
        try:
            stack.enter_context(files.locked(run_dir / LOCK, say=say))
        except BlockingIOError:
            who = holder.read_text().strip() if holder.exists() else ""
            raise ValueError(
                f"{run_dir}: {who or 'another process'} is training into it; "
                f"wait for it or stop it, or name another --run-dir"
            ) from None
        with written_whole(holder) as beside:
            beside.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        stack.callback(holder.unlink, missing_ok=True)
        yield


def _claim_run(preset: str) -> Path:
    """Make the first of runs/PRESET, runs/PRESET-2, ... that nobody has, which claims it."""
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


def _check_same(run_dir: Path, config: RunConfig) -> None:
    path = run_dir / CONFIG
    if not path.exists():
        raise ValueError(f"--run-dir {run_dir}: no run to resume there; train without --resume")
    before = _read_config(path)
    before.pop("preset", None)
    before = over(json.loads(json.dumps(to_json(type(config)()))), before)
    now = json.loads(json.dumps(to_json(config)))
    for name, old, new in _differences(before, now):
        if name not in FREE_ON_RESUME and not name.startswith(FREE_PARTS):
            raise ValueError(
                shown(
                    f"--resume with {name} {new}, but {run_dir} was trained with {str(old)[:80]}; "
                    f"give the same value, or start another run"
                )
            )
    _check_budget(run_dir, before["num_steps"], config.num_steps)


def _check_budget(run_dir: Path, asked: int, now: int) -> None:
    """Refuse fewer updates than before: weights would be those of neither schedule."""
    if now < asked:
        done = max(complete_steps(run_dir / "checkpoints"), default=0)
        raise ValueError(
            f"--resume with num_steps {now}, but {run_dir} was asked for {asked} and has done "
            f"{done}; give {asked} or more, or start another run"
        )


def over(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Lay values of a configuration's JSON, or of a part of it, over defaults."""
    merged = {**defaults, **values}
    for key, default in defaults.items():
        if isinstance(default, dict) and isinstance(values.get(key), dict):
            merged[key] = over(default, values[key])
    return merged


def _differences(
    before: dict[str, Any], now: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    for key in now:
        old, new = before.get(key), now[key]
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}", old, new
