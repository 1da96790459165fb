"""Keeping what steers as a file, with what a verb measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dt.acting.steering import Steering
from dt.checkpoint.steer_file import save_steering
from dt.steering.outcome import Outcome, as_json


def keep(
    path: str | Path,
    steering: Steering,
    outcome: Outcome,
    effect: Mapping[str, Any] | None = None,
    controls: Mapping[str, Any] | None = None,
) -> None:
    """Write a steering file, for the weights that a verb's outcome is of.

    >>> found = steering.optimize("runs/cartpole", space="prefix")
    >>> steering.keep("x.steer", steering.Steering(prefix=vectors), found.outcome)

    Args:
        effect, controls: JSON values beside the outcome's own measure and its control.

    Raises:
        ValueError: for a name that does not end in .steer, or lies in no folder.
    """
    measure = outcome.measure
    save_steering(
        Path(path),
        steering,
        weights=outcome.weights.before,
        source=outcome.source,
        checkpoint_step=outcome.checkpoint_step,
        made_by=outcome.command,
        effect={"verdict": outcome.verdict, "measure": as_json(measure), **(effect or {})},
        controls={measure.control_name: measure.control, **(controls or {})},
    )
