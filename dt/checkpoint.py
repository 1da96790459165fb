"""How does a run outlive its process? Self-contained, verified checkpoints: the only orbax.

A step's folder holds params/ and optimizer/ (Orbax), spec.json (everything a policy needs besides
weights) and manifest.json (see `dt.manifest`), which is written last and makes it count.
"""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from orbax.checkpoint import v1 as ocp

from dt.calibration import REQUEST_MAP, RequestMap
from dt.distributed import barrier, first_decides, is_first, largest
from dt.interop.hugging_face import is_hugging_face, load_hf
from dt.learner import Learner, TrainState
from dt.manifest import MANIFEST as MANIFEST
from dt.manifest import (
    annotate,
    best_step,
    complete_steps,
    is_complete,
    remove,
    remove_unfinished,
    set_aside,
    verify,
    write_manifest,
)
from dt.manifest import write_json as write_json
from dt.model.decision_transformer import abstract_model
from dt.model.heads import ReturnChoice
from dt.policy import ReturnConditionedPolicy
from dt.sharding import abstract_on_one_device
from dt.spec import PolicySpec


class Checkpointer:
    """Saves while training goes on, and keeps the newest few and the best.

    Of several processes each writes its part of the arrays, and the first the rest. What a killed
    process left unfinished in the directory is removed.
    """

    def __init__(self, run_dir: Path, spec: PolicySpec, keep: int):
        self.directory = run_dir.resolve() / "checkpoints"
        # Orbax logs what it also raises, with the stacks of its threads; one line is ours to say.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
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
        trees = {"params": nnx.to_pure_dict(copy.params), "optimizer": _plain(copy)}
        try:
            response = ocp.save_checkpointables_async(folder, trees)
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
            (folder / "spec.json").write_text(json.dumps(self.spec.to_json(), indent=1))
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


def restore_state(
    run_dir: Path, learner: Learner, warn: Callable[[str], None], where: Any = None
) -> TrainState:
    """The newest state of a run that verifies; damaged ones are named and set aside.

    Args:
        where: a TrainState of shardings: the devices each array goes to, however many it was
            saved from; None for the first device.

    Raises:
        ValueError: when there is none, or the run's data or model were others.
    """
    directory = run_dir.resolve() / "checkpoints"
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
    _check_spec(folder, learner.spec)
    empty = jax.eval_shape(learner.init)
    target = {"params": nnx.to_pure_dict(empty.params), "optimizer": _plain(empty)}
    if where is None:
        trees = _load(folder, target)
    else:
        places = {"params": nnx.to_pure_dict(where.params), "optimizer": _plain(where)}
        trees = ocp.load_checkpointables(folder, jax.tree.map(_placed, target, places))
    params = empty.params
    nnx.replace_by_pure_dict(params, trees["params"])
    leaves = jax.tree.leaves(trees["optimizer"]["leaves"])
    optimizer = jax.tree.unflatten(jax.tree.structure(empty.optimizer), leaves)
    for each in damaged:  # out of the way of the sound ones that will take their steps
        set_aside(each)
    return TrainState(params, optimizer, trees["optimizer"]["step"])


def load_policy(
    run_dir: str | Path,
    checkpoint: str | int = "last",
    *,
    deterministic: bool = False,
    null: bool = False,
    clip: bool = True,
    recompute: bool = False,
    temperature: float = 1.0,
    top_p: float = 1.0,
    expert: ReturnChoice | None = None,
    calibrated: bool = False,
    statistics: Mapping[str, Any] | None = None,
) -> ReturnConditionedPolicy:
    """A policy from a run directory alone, verified against its manifest.

    Or from a folder of Hugging Face's DecisionTransformerModel (see `dt.interop.hugging_face`).

    Args:
        checkpoint: "last", "best" (the lowest metric of those that have one), or a step.
        deterministic: take the likeliest discrete action instead of sampling.
        null: replace the return by the null token: the policy without steering.
        clip: show returns above all of the data's as its highest; False shows them as they are.
        recompute: act on the last context_length timesteps, computed anew at every step, and not
            from a ring cache.
        temperature, top_p: how actions are sampled, where the head has a spread.
        expert: the model chooses the returns, as `ReturnConditionedPolicy` says.
        calibrated: targets are returns to achieve: ask for what the run's request map says brings
            them (`evaluate.py --fit-request-map` measures it).
        statistics: of a Hugging Face folder, what its dt.json lacks or has otherwise.

    Raises:
        ValueError: when there is no such checkpoint, its files are not what was written, or the
            request map is missing or another checkpoint's.
    """
    if is_hugging_face(Path(run_dir)):
        if checkpoint != "last" or calibrated:
            raise ValueError(f"{run_dir}: a Hugging Face folder has no checkpoints or request map")
        if expert is not None or (temperature, top_p) != (1.0, 1.0):
            raise ValueError(
                f"{run_dir}: a Hugging Face model predicts no returns and has no spread to sample "
                f"from; leave out expert, temperature and top_p"
            )
        return load_hf(run_dir, statistics, deterministic=deterministic, null=null, clip=clip)
    if statistics is not None:
        raise ValueError(f"{run_dir}: is no Hugging Face folder; a run brings its own statistics")
    folder = find_checkpoint(Path(run_dir), checkpoint)
    spec = load_spec(folder)
    request_map = load_request_map(Path(run_dir)) if calibrated else None
    params = nnx.state(abstract_model(spec))
    trees = _load(folder, {"params": nnx.to_pure_dict(params)})
    nnx.replace_by_pure_dict(params, trees["params"])
    policy = ReturnConditionedPolicy(
        params,
        spec,
        deterministic=deterministic,
        null=null,
        clip=clip,
        recompute=recompute,
        temperature=temperature,
        top_p=top_p,
        expert=expert,
        request_map=request_map,
    )
    if request_map is not None:
        request_map.check(
            int(folder.name),
            deterministic=deterministic,
            recomputed=policy.recompute,
            temperature=temperature,
            top_p=top_p,
        )
    return policy


def load_spec(folder: Path) -> PolicySpec:
    """What a checkpoint's folder says besides its weights; verified."""
    verify(folder)
    return PolicySpec.from_json(json.loads((folder / "spec.json").read_text()))


def load_request_map(run_dir: Path) -> RequestMap:
    """The request map that was fitted for a run.

    Raises:
        ValueError: when there is none, or it does not read.
    """
    path = run_dir / REQUEST_MAP
    if not path.is_file():
        raise ValueError(f"{path}: no such file; fit it with evaluate.py --fit-request-map")
    try:
        return RequestMap.from_json(json.loads(path.read_text()))
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path}: does not read as a request map ({error!r}); fit it again with "
            f"evaluate.py --fit-request-map"
        ) from None


def find_checkpoint(run_dir: Path, checkpoint: str | int = "last") -> Path:
    """The folder of "last", "best" or a step.

    Raises:
        ValueError: saying which there are.
    """
    directory = run_dir.resolve() / "checkpoints"
    steps = complete_steps(directory)
    if not steps:
        raise ValueError(f"{run_dir}: holds no checkpoint; train one with `python train.py`")
    if checkpoint == "last":
        return directory / str(steps[-1])
    if checkpoint == "best":
        best = best_step(directory)
        if best is None:
            raise ValueError(
                f"{run_dir}: no checkpoint has a score card; train with --evaluation.interval"
            )
        return directory / str(best)
    if not str(checkpoint).isdigit() or int(checkpoint) not in steps:
        raise ValueError(
            f"{run_dir}: no checkpoint {checkpoint!r}; there are {', '.join(map(str, steps))}, "
            f"last and best"
        )
    return directory / str(int(checkpoint))


def _check_spec(folder: Path, spec: PolicySpec) -> None:
    """Refuse to go on with other units than the weights were trained in."""
    before = json.loads((folder / "spec.json").read_text())
    now = json.loads(json.dumps(spec.to_json()))
    for name in ("env_id", "env_kwargs", "reference"):  # these decide no number of the model's
        before.pop(name), now.pop(name)
    before["dataset"].pop("name"), now["dataset"].pop("name")
    for name in now:
        if before.get(name) != now[name]:
            raise ValueError(
                f"--resume with another {name} than {folder} was trained with: the data or the "
                f"environment have changed; start another run"
            )


def _placed(leaf: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _plain(state: TrainState) -> dict[str, Any]:
    """The optimiser's state as numbered leaves, so that no optax class is in the file."""
    leaves = jax.tree.leaves(state.optimizer)
    return {"leaves": {f"{i:04d}": leaf for i, leaf in enumerate(leaves)}, "step": state.step}


def _load(folder: Path, target: dict[str, Any]) -> dict[str, Any]:
    return ocp.load_checkpointables(folder, abstract_on_one_device(target))
