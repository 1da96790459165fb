"""Checkpoints are saved while training goes on: self-contained, hashed, the newest few kept.

A step's folder holds params/ and optimizer/ (Orbax), spec.json (everything a policy needs besides
weights) and manifest.json (see `dt.checkpoint.manifest`), which is written last and makes it count.
"""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dt.checkpoint.arrays import start_writing
from dt.checkpoint.manifest import (
    annotate,
    best_step,
    checkpoints_of,
    complete_steps,
    is_complete,
    remove,
    remove_unfinished,
    write_manifest,
)
from dt.checkpoint.state import TrainState, to_trees
from dt.parallel.processes import barrier, first_decides, is_first, largest
from dt.spec.serialize import Spec, spec_to_json


class Checkpointer:
    """Saves while training goes on, and keeps the newest few and the best.

    Of several processes each writes its part of the arrays, and the first the rest. What a killed
    process left unfinished in the directory is removed.
    """

    def __init__(self, run_dir: Path, spec: Spec, keep: int):
        self.directory = checkpoints_of(run_dir)
        if is_first():
            self.directory.mkdir(parents=True, exist_ok=True)
            remove_unfinished(self.directory)
        barrier("checkpoints: ready")
        self.spec = spec
        self.keep = keep
        self._pending: tuple[Any, Path, dict[str, Any]] | None = None

    def save(self, state: TrainState, metric: float | None = None) -> None:
        """Start writing this state; the previous save is finished first.

        Args:
            metric: lower is better; the best checkpoint that has one is kept.

        Raises:
            OSError: when the disk does not take it, or did not take the one before.
        """
        self.wait()
        step = int(state.step)
        folder = self.directory / str(step)
        if first_decides(lambda: is_complete(folder)):
            if is_first():
                annotate(folder, metric)
            return
        # A copy: the next round donates the state's buffers while they are being written.
        copy = jax.tree.map(jnp.copy, state)
        try:
            response = start_writing(folder, to_trees(copy))
        except (OSError, ValueError) as error:
            raise self._not_saved(folder, error) from error
        self._pending = (response, folder, {"step": step, "metric": metric})

    def wait(self) -> None:
        """Finish the save under way: hash its files, then write the manifest that makes it count.

        Raises:
            OSError: when the disk does not take it; earlier checkpoints stay.
        """
        if self._pending is None:
            return
        response, folder, facts = self._pending
        self._pending = None

        def finish() -> None:
            (folder / "spec.json").write_text(json.dumps(spec_to_json(self.spec), indent=1))
            write_manifest(folder, facts)
            self._remove_old()

        error: Exception | None = None
        try:
            response.result()
        except (OSError, ValueError) as failure:
            error = failure
        if largest(error is not None):
            error = error or OSError("another process could not write its part")
            raise self._not_saved(folder, error) from error
        try:
            first_decides(finish)
        except (OSError, ValueError) as failure:
            raise self._not_saved(folder, failure) from failure

    def _not_saved(self, folder: Path, error: Exception) -> OSError:
        """What there is to say of a save that failed; its files give their room back."""
        if is_first():
            remove_unfinished(self.directory)
        full = "No space left" in str(error) or getattr(error, "errno", 0) == errno.ENOSPC
        steps = complete_steps(self.directory)
        rest = f"update {steps[-1]} is the last that is saved" if steps else "nothing is saved yet"
        reason = "No space left on device" if full else str(error).splitlines()[0]
        return OSError(f"{folder}: not saved: {reason}; {rest}, and --resume goes on from there")

    def _remove_old(self) -> None:
        steps = complete_steps(self.directory)
        kept = set(steps[-self.keep :]) | {best_step(self.directory)}
        for step in steps:
            if step not in kept:
                remove(self.directory / str(step))
