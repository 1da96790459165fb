"""The log of a run's numbers: JSON lines are the truth, trackers such as TensorBoard a view."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from dt.files import written_whole
from dt.training.trackers import NO_PICTURES, NOTHING, Record, TensorBoard, Tracker


class MetricWriter:
    """Appends to metrics.jsonl and to TensorBoard's event file in the run directory."""

    def __init__(
        self, run_dir: Path, resume_at: int | None = None, trackers: Sequence[Tracker] = ()
    ):
        """
        Args:
            resume_at: a step; lines of later steps, logged by a run that lost them, are dropped.
            trackers: who else is given every record; closed with the writer.
        """
        self.path = run_dir / "metrics.jsonl"
        if resume_at is not None and self.path.exists():
            lines = self.path.read_text().splitlines()
            kept = [line for line in lines if _step(line) <= resume_at]
            with written_whole(self.path) as beside:  # whenever the process is killed
                beside.write_text("".join(line + "\n" for line in kept))
        self._file = self.path.open("a")
        board = TensorBoard(run_dir / "tensorboard", resume_at)
        self._trackers: tuple[Tracker, ...] = (board, *trackers)

    def write(
        self,
        step: int,
        values: Mapping[str, float],
        texts: Mapping[str, str] = NOTHING,
        pictures: Mapping[str, Path] = NO_PICTURES,
    ) -> None:
        """Log the values; when this returns, killing the process does not lose them.

        Args:
            pictures: PNG files; of these the JSON line holds the paths, from the run directory.

        Raises:
            OSError: naming the file, when the disk does not take them.
        """
        record = Record(step, time.time(), values, texts, pictures)
        folder = self.path.parent
        paths = {name: _path_from(folder, path) for name, path in pictures.items()}
        try:
            line = {"step": step, "time": round(record.time, 3), **values, **texts, **paths}
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            for tracker in self._trackers:
                tracker.write(record)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def close(self) -> None:
        """Close the file, and the trackers."""
        self._file.close()
        for tracker in self._trackers:
            tracker.close()


def _path_from(folder: Path, path: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _step(line: str) -> float:
    """Read the step of a line; a line cut off by a crash belongs to none."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return float("inf")
