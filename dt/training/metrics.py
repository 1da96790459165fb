"""The log of a run's numbers: JSON lines are the truth, TensorBoard's events a view of them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from dt.files import written_whole


class MetricWriter:
    """Appends to metrics.jsonl and to TensorBoard's event file in the run directory."""

    def __init__(self, run_dir: Path, resume_at: int | None = None):
        """
        Args:
            resume_at: a step; lines of later steps, logged by a run that lost them, are dropped.
        """
        self.path = run_dir / "metrics.jsonl"
        if resume_at is not None and self.path.exists():
            lines = self.path.read_text().splitlines()
            kept = [line for line in lines if _step(line) <= resume_at]
            with written_whole(self.path) as beside:  # whenever the process is killed
                beside.write_text("".join(line + "\n" for line in kept))
        self._file = self.path.open("a")
        self._board: Board | None = None
        self._resume_at = resume_at

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values; when this returns, killing the process does not lose them.

        Raises:
            OSError: naming the file, when the disk does not take them.
        """
        now = time.time()
        try:
            line = {"step": step, "time": round(now, 3), **values}
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            if self._board is None:
                self._board = Board(self.path.parent / "tensorboard", self._resume_at)
            self._board.write(step, now, values)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


class Board:
    """TensorBoard's event file, written on this thread.

    tensorboardX's own SummaryWriter queues for a thread that dies of a full disk, and then waits
    for it forever. The package is imported here, as it imports PyTorch where that is installed: a
    second and more that the first update need not wait for.
    """

    def __init__(self, folder: Path, resume_at: int | None):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        folder.mkdir(exist_ok=True)
        self._events = EventsWriter(str(folder / "events"))
        if resume_at is not None:  # TensorBoard then hides what a lost run logged after it
            log = SessionLog(status=SessionLog.START)
            self._events.write_event(Event(step=resume_at, session_log=log, wall_time=time.time()))

    def write(self, step: int, now: float, values: Mapping[str, float]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for name, value in values.items():
            self._events.write_event(Event(step=step, wall_time=now, summary=scalar(name, value)))
        self._events.flush()

    def close(self) -> None:
        self._events.close()


def _step(line: str) -> float:
    """Read the step of a line; a line cut off by a crash belongs to none."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
