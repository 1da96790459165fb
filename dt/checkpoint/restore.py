"""Training goes on from the newest checkpoint that verifies."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from flax import nnx

from dt.checkpoint.arrays import read
from dt.checkpoint.manifest import checkpoints_of, complete_steps, set_aside, verify
from dt.checkpoint.state import TrainState, from_trees, to_trees
from dt.files import read_json
from dt.parallel.processes import first_decides
from dt.spec.serialize import Spec, spec_to_json


def restore_state(
    run_dir: Path,
    like: TrainState,
    spec: Spec,
    warn: Callable[[str], None],
    where: TrainState | None = None,
) -> TrainState:
    """The newest state of a run that verifies; damaged ones are named and set aside.

    Args:
        like: a state of the same run, or the shapes of one.
        where: a TrainState of shardings: the devices each array goes to, however many it was
            saved from; None for the first device.

    Raises:
        ValueError: when there is none, or the run's data or model were others.
    """
    directory = checkpoints_of(run_dir)
    damaged: list[Path] = []

    def newest_sound() -> int:
        for step in reversed(complete_steps(directory)):
            try:
                verify(directory / str(step))
                return step
            except ValueError as error:
                warn(f"{error}; going back to an older checkpoint")
                damaged.append(directory / str(step))
        raise ValueError(
            f"{run_dir}: no sound checkpoint to resume from; name another "
            f"--run-dir, or remove {directory}"
        )

    folder = directory / str(first_decides(newest_sound))
    _check_spec(folder, spec)
    trees = read(folder, to_trees(like), None if where is None else to_trees(where))
    for each in damaged:  # out of the way of the sound ones that will take their steps
        set_aside(each)
    return from_trees(trees, like)


def with_weights_of(folder: Path, state: TrainState, where: TrainState) -> TrainState:
    """Put the weights of a checkpoint's folder, which is verified, in place of a state's.

    Args:
        where: as for `restore_state`.
    """
    trees, shardings = ({"params": nnx.to_pure_dict(each.params)} for each in (state, where))
    params = state.params
    nnx.replace_by_pure_dict(params, read(folder, trees, shardings)["params"])
    return state._replace(params=params)


def _check_spec(folder: Path, spec: Spec) -> None:
    """Refuse to go on with other units than the weights were trained in."""
    before = read_json(folder / "spec.json")
    if not isinstance(before, dict) or not isinstance(before.get("dataset"), dict):
        raise ValueError(f"{folder}: spec.json is none of ours; this checkpoint cannot be trusted")
    now = json.loads(json.dumps(spec_to_json(spec)))
    # These decide no number of the model's.
    for name in ("env_id", "env_kwargs", "reference", "guidance"):
        before.pop(name, None), now.pop(name, None)
    if isinstance(before.get("model"), dict):  # options that are younger are at their defaults
        before["model"] = dataclasses.asdict(type(spec.model)()) | before["model"]
    before["dataset"].pop("name", None), now["dataset"].pop("name")
    for name in now:
        if before.get(name) != now[name]:
            raise ValueError(
                f"--resume with another {name} than {folder} was trained with: the data or the "
                f"environment have changed; start another run"
            )
