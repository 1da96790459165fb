"""Run scripts in forks of a process that has imported what they need, which takes seconds.

Each line read is a call, {"args": [...], "folder": ..., "out": ..., "err": ...}; each line written
is the exit code. See `Scripts`, the tests' side.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def environment() -> dict[str, str]:
    """What a script's process sees, of its own or forked."""
    return {**os.environ, "COLUMNS": "200"}


class Scripts:
    """A process whose forks run scripts, one at a time."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def run(self, name: str, *args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run([python, name, *args], cwd=cwd)` with what is printed captured."""
        assert self.process.stdin is not None and self.process.stdout is not None
        words = [str(ROOT / name), *map(str, args)]
        with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
            call = {"args": words, "folder": str(cwd), "out": out.name, "err": err.name}
            self.process.stdin.write(json.dumps(call) + "\n")
            self.process.stdin.flush()
            code = int(self.process.stdout.readline())
            return subprocess.CompletedProcess(words, code, out.read(), err.read())

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def work(call: dict[str, Any]) -> int:
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(call[name], os.O_WRONLY), stream)
    os.chdir(call["folder"])
    sys.argv = call["args"]
    try:
        runpy.run_path(call["args"][0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    else:
        code = 0
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def serve() -> None:
    sys.path[0] = str(ROOT)  # as Python itself has it for a script there
    import dt.evaluation.of_run
    import dt.evaluation.score_run  # noqa: F401 (with these comes nearly all that scripts import)
    import envs  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 70  # after an error we do not foresee; its trace is on stderr
            try:
                code = work(json.loads(line))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
