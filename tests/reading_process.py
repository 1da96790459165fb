"""Read files in a process that may crash, hang or run out of memory, and say what came of each.

Each line read is a job, {"kind": ..., "path": ...}; each line written is what is wrong with how it
was read, or null. See `Reader`, the tests' side.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import psutil

SECONDS = 10  # that reading a file may take
MEMORY = 2 << 30  # bytes that it may take
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Reader:
    """A process that reads one file at a time; it is started anew when one ends it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._jobs = 0

    def fault(self, kind: str, path: Path, sound: bool = False) -> str | None:
        """Say what is wrong with how a file is read; None where it is read or refused well.

        Args:
            sound: that a refusal is wrong.
        """
        if self._process is None or self._jobs >= 500:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._jobs = 0
        assert self._process.stdin is not None and self._process.stdout is not None
        self._jobs += 1
        self._process.stdin.write(
            json.dumps({"kind": kind, "path": str(path), "sound": sound}) + "\n"
        )
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if answer:
            return json.loads(answer)
        number = -self._process.wait()
        self.close()
        if number in (signal.SIGALRM, signal.SIGPROF):
            return f"took more than {SECONDS} seconds"
        return f"ended the process: {signal.Signals(number).name if number > 0 else -number}"

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()
            self._process = None


def read_data(path: Path) -> None:
    """Show its card, as a user does, and make what training reads of it."""
    from dt.cli.data import main
    from dt.config import ModelConfig
    from dt.spec.spec import PolicySpec

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(path), "--no-draw"])
    if code == 2:
        raise ValueError(err.getvalue().removeprefix("dt data: ").removesuffix("\n"))
    assert code == 0 and not err.getvalue(), f"exit {code}: {err.getvalue()}"
    assert not _CONTROL.search(out.getvalue()), f"control characters in {out.getvalue()!r}"
    from dt.data.store.store import load_training_data
    from dt.data.transforms import Transforms

    data = load_training_data(str(path), Transforms())
    PolicySpec.of(data, ModelConfig())


def read_run(path: Path) -> None:
    """Load a run's policy, and act once."""
    import numpy as np

    from dt.checkpoint.load import load_policy

    policy = load_policy(path)
    repr(policy)
    policy.reset([1.0])
    space = policy.spec.observation_space
    observation = np.zeros((1, *(space.shape or ())), space.dtype)
    with contextlib.suppress(KeyError):
        action = np.asarray(policy.act(observation))
        assert np.isfinite(action).all(), f"acts with {action}"


def read_spec(path: Path) -> None:
    """Load a run's policy, as acting does, which would take a second to compile."""
    from dt.checkpoint.load import load_policy

    repr(load_policy(path))


def read_config(path: Path) -> None:
    """Resume a run with its own options."""
    from dt.cli.train import parse_train_args
    from dt.training.run_directory import open_run

    file = str(path / "config.json")
    open_run(*parse_train_args(["--config", file, "--resume", "--run-dir", str(path)]))


def read_card(path: Path) -> None:
    """Show a card, and compare it with itself."""
    from rich.console import Console

    from dt.evaluation.comparison import compare_cards, read_card
    from dt.report.card_table import print_card
    from dt.report.comparison_table import print_comparison

    card = read_card(path)
    console = Console(file=io.StringIO(), width=200)
    print_card(card, console)
    print_comparison(compare_cards(card, card, (str(path), str(path))), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert not _CONTROL.search(text), f"control characters in {text!r}"


def read_map(path: Path) -> None:
    import numpy as np

    from dt.checkpoint.load import load_request_map

    load_request_map(path).request_for(np.array([1.0]))


def read_ask_table(path: Path) -> None:
    import numpy as np

    from dt.acting.options import ActingOptions
    from dt.checkpoint.load import load_ask_table

    table = load_ask_table(path)
    assert np.isfinite(table.inputs_for(np.array([1.0])).guidance).all()
    with contextlib.suppress(ValueError):  # of another policy
        table.check(7, ActingOptions())


def read_store(path: Path) -> None:
    from dt.config import ModelConfig
    from dt.data.store.store import open_store
    from dt.spec.spec import PolicySpec

    PolicySpec.of(open_store(path), ModelConfig())


def read_journal(path: Path) -> None:
    """Open the log of a collection; what is damaged in it is collected again."""
    from dt.collect.journal import Journal

    with Journal(path) as journal:
        for number in range(10):
            if number in journal:
                len(journal[number])


def read_hugging_face(path: Path) -> None:
    read_run(path)


def read_player(path: Path) -> None:
    import numpy as np
    from gymnasium import spaces

    from dt.collect.behaviors.sources import load_behavior

    box = spaces.Box(-1, 1, (2,), np.float32)
    seen = spaces.Box(-1, 1, (3,), np.float32)
    behavior = load_behavior(f"npz:{path}", seen, box, players={})
    actions = behavior.act(np.zeros((1, 3), np.float32), [np.random.default_rng(0)])
    assert np.isfinite(actions).all(), f"acts with {actions}"


READERS: dict[str, Callable[[Path], None]] = {
    "data": read_data,
    "run": read_run,
    "spec": read_spec,
    "config": read_config,
    "card": read_card,
    "request map": read_map,
    "ask table": read_ask_table,
    "store": read_store,
    "journal": read_journal,
    "hugging face": read_hugging_face,
    "player": read_player,
}


def fault_of(kind: str, path: Path, sound: bool) -> str | None:
    """Read a file, and say what is wrong with how that went."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        # Of Orbax's after a read that failed, which has its line.
        warnings.filterwarnings("ignore", ".*was never awaited")
        try:
            READERS[kind](path)
        except ValueError as error:
            fault = _fault_of_message(str(error), path)
            if fault is not None or sound:
                return f"{fault}\n{''.join(traceback.format_exception(error))[-3000:]}"
        except BaseException:
            return traceback.format_exc()[-3000:]
    found = [f"warned: {each.message} at {each.filename}:{each.lineno}" for each in warned]
    return "; ".join(found) or None


def _fault_of_message(message: str, path: Path) -> str | None:
    if len(message.splitlines()) != 1 or _CONTROL.search(message):
        return f"its message is not one plain line: {message!r}"
    if path.name not in message:
        return f"its message does not name {path.name}: {message}"
    if any(word in message for word in ("Unable to allocate", "MemoryError", "memory than")):
        return f"it took too much memory: {message}"
    if len(message) > 2000:
        return f"its message has {len(message)} characters: {message[:300]}"
    return None


def serve() -> None:
    sys.path[:1] = [str(Path(__file__).parents[1])]
    os.environ["JAX_PLATFORMS"] = "cpu"
    import dt.data.card.card
    import dt.data.formats.sources  # noqa: F401

    answers = os.fdopen(os.dup(1), "w")
    noise = tempfile.TemporaryFile()
    os.dup2(noise.fileno(), 1)
    os.dup2(noise.fileno(), 2)
    for line in sys.stdin:
        job = json.loads(line)
        size = psutil.Process().memory_info().vms
        # Imports of a first job count, those of JAX among them.
        more = MEMORY + (2 << 30 if "jax" not in sys.modules else 0)
        resource.setrlimit(resource.RLIMIT_AS, (size + more, resource.RLIM_INFINITY))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # at work: others may have the processor
        signal.setitimer(signal.ITIMER_REAL, 30 * SECONDS)
        fault = fault_of(job["kind"], Path(job["path"]), job["sound"])
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if fault is None and noise.tell():
            noise.seek(0)
            fault = f"printed {noise.read()[:2000]!r}"
        noise.seek(0)
        noise.truncate()
        print(json.dumps(fault), file=answers, flush=True)


if __name__ == "__main__":
    serve()
