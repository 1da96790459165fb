"""Where do numbers go while training runs? JSON lines are the truth, the others are views."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter


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
            self.path.write_text("".join(line + "\n" for line in kept))
        self._file = self.path.open("a")
        self._board = SummaryWriter(str(run_dir / "tensorboard"), purge_step=resume_at)

    def write(self, step: int, values: dict[str, Any]) -> None:
        line = {"step": step, "time": round(time.time(), 3), **values}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        self._file.close()
        self._board.close()


def _step(line: str) -> float:
    """The step of a line; a line cut off by a crash belongs to none."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
