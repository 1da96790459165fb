"""Where do numbers go while training runs? JSON lines are the truth, the others are views."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar


class MetricWriter:
    """Appends to metrics.jsonl and to TensorBoard's event file in the run directory.

    Both are written as they are told, on this thread: tensorboardX's own SummaryWriter queues for
    a thread that dies of a full disk, and then waits for it forever.
    """

    def __init__(self, run_dir: Path, resume_at: int | None = None):
        """
        Args:
            resume_at: a step; lines of later steps, logged by a run that lost them, are dropped.
        """
        self.path = run_dir / "metrics.jsonl"
        if resume_at is not None and self.path.exists():
            lines = self.path.read_text().splitlines()
            kept = [line for line in lines if _step(line) <= resume_at]
            beside = self.path.with_name(self.path.name + ".tmp")
            beside.write_text("".join(line + "\n" for line in kept))
            beside.replace(self.path)  # whole, whenever the process is killed
        self._file = self.path.open("a")
        folder = run_dir / "tensorboard"
        folder.mkdir(exist_ok=True)
        self._board = EventsWriter(str(folder / "events"))
        if resume_at is not None:  # TensorBoard then hides what a lost run logged after it
            log = SessionLog(status=SessionLog.START)
            self._board.write_event(Event(step=resume_at, session_log=log, wall_time=time.time()))

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Log the values; when this returns, killing the process does not lose them.

        Raises:
            OSError: naming the file, when the disk does not take them.
        """
        now = time.time()
        try:
            line = {"step": step, "time": round(now, 3), **values}
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            for name, value in values.items():
                self._board.write_event(
                    Event(step=step, wall_time=now, summary=scalar(name, value))
                )
            self._board.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def close(self) -> None:
        self._file.close()
        self._board.close()


def _step(line: str) -> float:
    """The step of a line; a line cut off by a crash belongs to none."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
