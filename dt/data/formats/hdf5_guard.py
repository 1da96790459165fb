"""Have HDF5's structure walked through by another process first, which may hang or crash instead.

The HDF5 library trusts what it reads of its own structures: a list that leads back to itself keeps
it busy, or takes all memory, and no code in the same process can stop it.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

WALK = Path(__file__).with_name("hdf5_walk.py")

_walked: set[tuple[int, ...]] = set()  # states of files that were found sound
_lock = threading.Lock()
_process: subprocess.Popen[bytes] | None = None
_owner = 0  # who started it; a fork must not share its pipes


def require_walkable(path: Path) -> None:
    """Refuse a file whose structure HDF5 cannot follow in time and memory; once for each state.

    Raises:
        ValueError: saying what came of it, without the file's name.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return  # there is no Python to run
    stat = path.stat()
    state = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    with _lock:
        if state in _walked:
            return
        answer = _ask(path)
        if answer is None:  # it had been idle, and ended as it was asked
            answer = _ask(path)
        if answer:
            raise ValueError(answer)
        _walked.add(state)


def _ask(path: Path) -> str | None:
    """Say what is wrong with a file, or nothing; None where nobody answered."""
    process = _running()
    assert process.stdin is not None and process.stdout is not None
    answer = b""
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps(str(path.resolve())).encode() + b"\n")
        process.stdin.flush()
        answer = process.stdout.readline()
    if answer:
        return str(json.loads(answer))
    code = _stop()
    if code == 0:
        return None
    if code < 0:
        name = signal.Signals(-code).name
        if name == "SIGPROF":
            return "its structure keeps HDF5 busy without end"
        return f"HDF5 ends the process that looks at it: {name}"
    return f"{WALK.name} ended with exit code {code}; is h5py whole?"


def _running() -> subprocess.Popen[bytes]:
    """Start the process, unless it is there."""
    global _process, _owner
    if _process is None or _owner != os.getpid():
        path = os.pathsep.join(each for each in sys.path if each)
        _process, _owner = (
            subprocess.Popen(
                [sys.executable, "-P", str(WALK)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # who interrupts us does not mean it
            ),
            os.getpid(),
        )
    return _process


def _stop() -> int:
    """Let the process end, and give its exit code."""
    global _process
    process, _process = _process, None
    if process is None or _owner != os.getpid():
        return 0
    assert process.stdin is not None and process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    process.stdout.close()
    return process.wait()


atexit.register(_stop)
