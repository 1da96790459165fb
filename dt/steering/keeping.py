"""What `optimize` found for all contexts, kept as a steering file that a policy acts by."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dt.acting.steering import Steering
from dt.checkpoint.steer_file import check_name, save_steering
from dt.steering.optimizing import OptimizeFound
from dt.steering.optimizing_rollouts import PlayedInputs
from dt.steering.outcome import as_json


def keep(found: OptimizeFound | PlayedInputs, path: Path) -> None:
    """Write a steering file of the found prefix, or request, with its effect and its controls.

    Raises:
        ValueError: for a name that does not end in .steer, or lies in no folder.
    """
    outcome, options = found.outcome, found.outcome.options
    if options["space"] == "prefix":
        vectors = found.inputs.reshape(options["length"], -1)
        steering = Steering(prefix=np.asarray(vectors, np.float32))
    else:
        steering = Steering(request=float(found.inputs[0, 0]))
    scores = found.others if isinstance(found, OptimizeFound) else found
    save_steering(
        path,
        steering,
        weights=outcome.weights.before,
        source=outcome.source,
        checkpoint_step=outcome.checkpoint_step,
        made_by=outcome.command,
        effect={"verdict": outcome.verdict, **as_json(outcome.measure)},
        controls={
            "unedited": float(scores.unedited.mean()),
            "random": float(scores.random.mean()),
        },
    )


def check_file(path: Path) -> None:
    """Refuse a file that cannot be written, before anything is searched.

    Raises:
        ValueError: saying what its name must be.
    """
    check_name(path)
