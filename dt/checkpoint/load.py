"""A policy is loaded from a run directory, which is all that it takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax import nnx

from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.request_map import REQUEST_MAP, RequestMap
from dt.checkpoint.arrays import read
from dt.checkpoint.hugging_face.folder import is_hugging_face, load_hf
from dt.checkpoint.manifest import best_step, complete_steps, verify
from dt.model.decision_transformer import abstract_model
from dt.model.heads import ReturnChoice
from dt.spec.spec import PolicySpec


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

    Or from a folder of Hugging Face's DecisionTransformerModel (see `dt.checkpoint.hugging_face`).

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
    trees = read(folder, {"params": nnx.to_pure_dict(params)})
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
