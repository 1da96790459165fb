"""Load a policy from a run directory, which is all that it takes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dt.acting.ask_table import ASK_TABLE, AskTable
from dt.acting.options import AS_TRAINED, ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.request_map import REQUEST_MAP, RequestMap
from dt.checkpoint.arrays import read
from dt.checkpoint.hugging_face.folder import is_hugging_face, load_hf
from dt.checkpoint.manifest import best_step, checkpoints_of, complete_steps, verify
from dt.checkpoint.steer_file import REMEDY, load_steering
from dt.config import ModelConfig
from dt.files import read_json, reading, require_memory
from dt.model.decision_transformer import abstract_model
from dt.model.params import Params, weights_hash
from dt.model.prefix import with_prefix
from dt.spec.serialize import spec_from_json
from dt.spec.spec import PolicySpec

UNTRUSTED = "this checkpoint cannot be trusted"
Measured = TypeVar("Measured", RequestMap, AskTable)

MOST_PACKED = 64  # numbers in a byte of a checkpoint; those that were never trained pack well


def load_policy(
    run_dir: str | Path,
    checkpoint: str | int = "last",
    *,
    options: ActingOptions = AS_TRAINED,
    statistics: Mapping[str, Any] | None = None,
    **changes: Any,
) -> ReturnConditionedPolicy:
    """A policy from a run directory alone, verified against its manifest.

    Or from a folder of Hugging Face's DecisionTransformerModel (see `dt.checkpoint.hugging_face`).

    Args:
        checkpoint: "last", "best" (the lowest metric of those that have one), or a step.
        options: how the policy acts; calibrated ones ask by the run's request map, which
            `dt evaluate --fit-request-map` measures, and asked ones by its ask table, which
            `dt steer RUN ask` measures; `steer` names a file of a steering made for these weights.
        statistics: of a Hugging Face folder, what its dt.json lacks or has otherwise.
        changes: fields of `ActingOptions` in place of those of `options`, such as
            deterministic=True.

    Raises:
        ValueError: when there is no such checkpoint, its files are not what was written, or the
            request map is missing or another checkpoint's.
        TypeError: for a change that is no acting option, with the nearest that is.
    """
    options = options.changed(changes)
    if options.steer:
        plain = dataclasses.replace(options, steer="")
        policy = load_policy(run_dir, checkpoint, options=plain, statistics=statistics)
        return steered(policy, Path(options.steer), options, str(run_dir))
    if is_hugging_face(Path(run_dir)):
        if checkpoint != "last" or options.calibrated or options.asked:
            raise ValueError(f"{run_dir}: a Hugging Face folder has no checkpoints or request map")
        if options.expert is not None or (options.temperature, options.top_p) != (1.0, 1.0):
            raise ValueError(
                f"{run_dir}: a Hugging Face model predicts no returns and has no spread to sample "
                f"from; leave out expert, temperature and top_p"
            )
        return load_hf(run_dir, statistics, options)
    if statistics is not None:
        raise ValueError(f"{run_dir}: is no Hugging Face folder; a run brings its own statistics")
    folder = find_checkpoint(Path(run_dir), checkpoint)
    spec = load_spec(folder)
    request_map: RequestMap | AskTable | None = None
    if options.calibrated or options.asked:
        load = load_ask_table if options.asked else load_request_map
        request_map = load(Path(run_dir))
    params = nnx.state(abstract_model(spec))
    require_stored(folder, params)
    with reading(folder, UNTRUSTED):
        trees = read(folder, {"params": nnx.to_pure_dict(params)})
    require_finite(folder, trees["params"])
    nnx.replace_by_pure_dict(params, trees["params"])
    policy = ReturnConditionedPolicy(params, spec, options, request_map)
    if request_map is not None:
        request_map.check(int(folder.name), policy.options)
    return policy


def steered(
    policy: ReturnConditionedPolicy, path: Path, options: ActingOptions = AS_TRAINED, name: str = ""
) -> ReturnConditionedPolicy:
    """Let a policy act by a steering file.

    Args:
        options: how it acts besides.
        name: of the policy, for errors.

    Raises:
        ValueError: in one line, for a file that is none or is damaged, that was made for other
            weights, or that holds what the model cannot do or the options say otherwise.
    """
    steering, header = load_steering(path)
    if weights_hash(policy.params) != header.weights:
        raise ValueError(
            f"{path}: was made for other weights ({header.source}, update "
            f"{header.checkpoint_step}) than {name or 'this policy'} has; make it anew for these"
        )
    options = dataclasses.replace(options, steer=str(path))
    if steering.guidance is not None:
        if options.is_guided or options.null:
            raise ValueError(
                f"{path}: brings weights of guidance of its own; leave guidance and null out"
            )
        weight, enough, below = steering.guidance
        options = dataclasses.replace(
            options, guidance=weight, guidance_enough=enough, enough_below=below
        )
    params, spec = policy.params, policy.spec
    with reading(path, REMEDY):
        steering.check(spec)
        if steering.prefix is not None:
            params, spec = with_prefix(params, spec, steering.prefix)
        return ReturnConditionedPolicy(params, spec, options, steering=steering)


def load_spec(folder: Path) -> PolicySpec:
    """What a checkpoint's folder says besides its weights; verified.

    Raises:
        ValueError: where it is not what was written, or declares a model that is larger than the
            weights beside it.
    """
    verify(folder)
    path = folder / "spec.json"
    values = read_json(path)
    with reading(path, UNTRUSTED):
        spec = spec_from_json(values)
    model, stored = spec.model, bytes_of(folder)
    if model.num_layers * model.width**2 > stored:  # each layer has four times as many numbers
        raise ValueError(
            f"{folder}: spec.json declares {model.num_layers} layers of width {model.width}, and "
            f"the checkpoint has {stored} bytes; {UNTRUSTED}"
        )
    require_cache_memory(folder, model)
    return spec


def require_stored(folder: Path, params: Params) -> None:
    """Hold the size of a model against that of the checkpoint, before memory is taken for it."""
    declared = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    stored = bytes_of(folder)
    if declared > MOST_PACKED * stored:
        raise ValueError(
            f"{folder}: spec.json declares a model of {declared} numbers, and the checkpoint has "
            f"{stored} bytes; {UNTRUSTED}"
        )


def require_finite(folder: Path, params: Any) -> None:
    """Refuse weights that are no numbers: actions computed with them would be none.

    Raises:
        ValueError: naming the folder and the parameter.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        values = np.asarray(leaf)
        if jnp.issubdtype(values.dtype, jnp.floating) and not np.isfinite(values).all():
            name = "/".join(str(getattr(key, "key", key)) for key in path)
            raise ValueError(
                f"{folder}: {name} holds NaN or infinity, and no action can be computed; take an "
                f"older checkpoint"
            )


def require_cache_memory(folder: Path, model: ModelConfig) -> None:
    """Refuse a context whose keys and values of one environment would not fit in memory."""
    cached = 2 * 4 * model.num_layers * model.width * model.context_length
    require_memory(f"{folder}: a context of {model.context_length} timesteps", cached)


def bytes_of(folder: Path) -> int:
    """Count the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def load_request_map(run_dir: Path) -> RequestMap:
    """The request map that was fitted for a run.

    Raises:
        ValueError: when there is none, or it does not read.
    """
    how = "with dt evaluate --fit-request-map"
    return _measured(run_dir / REQUEST_MAP, RequestMap.from_json, "fit it", how)


def load_ask_table(run_dir: Path) -> AskTable:
    """The ask table that was measured for a run.

    Raises:
        ValueError: when there is none, or it does not read.
    """
    how = f"with dt steer {run_dir} ask"
    return _measured(run_dir / ASK_TABLE, AskTable.from_json, "measure it", how)


def _measured(path: Path, read: Callable[[Any], Measured], make: str, how: str) -> Measured:
    """Read what was measured of a run; `make` and `how` say how it is made."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {make} {how}")
    values = read_json(path)
    with reading(path, f"{make} again {how}"):
        return read(values)


def find_checkpoint(run_dir: Path, checkpoint: str | int = "last") -> Path:
    """The folder of "last", "best" or a step.

    Raises:
        ValueError: saying which there are.
    """
    directory = checkpoints_of(run_dir)
    steps = complete_steps(directory)
    if not steps:
        why = "" if run_dir.is_dir() else ", for there is no such folder"
        raise ValueError(f"{run_dir}: holds no checkpoint{why}; name a run that `dt train` made")
    if checkpoint == "last":
        return directory / str(steps[-1])
    if checkpoint == "best":
        best = best_step(directory)
        if best is None:
            raise ValueError(
                f"{run_dir}: no checkpoint has a score card; train with evaluation.interval above 0"
            )
        return directory / str(best)
    if not str(checkpoint).isdigit() or int(checkpoint) not in steps:
        raise ValueError(
            f"{run_dir}: no checkpoint {checkpoint!r}; there are {', '.join(map(str, steps))}, "
            f"last and best"
        )
    return directory / str(int(checkpoint))
