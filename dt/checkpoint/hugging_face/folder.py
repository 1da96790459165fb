"""Read and write folders of Hugging Face's DecisionTransformerModel, without PyTorch.

A folder holds `config.json` and `model.safetensors`, as `save_pretrained` writes them, and
`dt.json` with the fields of `ImportedUnits`. A model from elsewhere comes without the last: write
one beside it, or give its fields as arguments:

>>> dt.load_policy(folder, statistics={"state_mean": [...], "state_std": [...],
...                                    "return_scale": 1000.0, "env_id": "MyEnv-v0"})
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from gymnasium import spaces
from safetensors.numpy import load, save

from dt.acting.options import AS_TRAINED, ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.checkpoint.hugging_face.tensors import Tensors, to_params, to_tensors
from dt.checkpoint.hugging_face.units import UNITS, ImportedUnits
from dt.config import ModelConfig
from dt.files import first_line, read_json, reading, require_memory, sha256_of, shown
from dt.model.decision_transformer import abstract_model
from dt.spec.spec import PolicySpec

CONFIG, WEIGHTS = "config.json", "model.safetensors"
THEIRS = "DecisionTransformerModel"
LAYOUT = "return-observation-action"

# What config.json leaves out, it means by default.
_DEFAULTS: dict[str, Any] = {
    "state_dim": 17,
    "act_dim": 4,
    "hidden_size": 128,
    "max_ep_len": 4096,
    "action_tanh": True,
    "n_layer": 3,
    "n_head": 1,
    "n_inner": None,
    "resid_pdrop": 0.1,
}
# Options that change the function; these are the values of recipe chen2021.
_NEEDED: dict[str, Any] = {
    "activation_function": "relu",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}


def is_hugging_face(folder: Path) -> bool:
    """Whether a folder holds a model of Hugging Face's, of whichever kind, and not a run."""
    path = folder / CONFIG
    if (folder / "checkpoints").is_dir() or not path.is_file():
        return False
    return b'"model_type"' in path.read_bytes()


def load_hf(
    folder: str | Path,
    statistics: Mapping[str, Any] | None = None,
    options: ActingOptions = AS_TRAINED,
) -> ReturnConditionedPolicy:
    """A policy of a Hugging Face folder.

    Args:
        statistics: fields of `ImportedUnits`, in place of those in dt.json.
        options: how the policy acts.

    Raises:
        ValueError: naming the option, tensor or field that is missing, unknown or not supported.
    """
    folder = Path(folder)
    config = _read_config(folder / CONFIG)
    known = ImportedUnits.read(folder, statistics)
    tensors = _read_tensors(folder / WEIGHTS, known.sha256)
    _check_sizes(folder, config, tensors)
    cached = 8 * config["n_layer"] * config["hidden_size"] * known.context_length
    require_memory(f"{folder}: a context of {known.context_length} timesteps", cached)
    with reading(folder):
        spec = _spec_of(config, known)
    params = nnx.state(abstract_model(spec))
    nnx.replace_by_pure_dict(
        params, to_params(tensors, params, spec.model.num_heads, folder / WEIGHTS)
    )
    return ReturnConditionedPolicy(jax.tree.map(jnp.asarray, params), spec, options)


def save_hf(policy: ReturnConditionedPolicy, folder: str | Path) -> None:
    """Write a policy of recipe chen2021 as a folder that `from_pretrained` and `load_hf` read.

    Where it is played without this package, the model takes (s - state_mean) / state_std and
    R / return_scale, by the numbers in dt.json, and -1 and 1 are action_low and action_high.

    Raises:
        ValueError: for a policy that the other model cannot express, and for a folder that already
            holds a model.
    """
    folder, spec = Path(folder), policy.spec
    _check_expressible(spec)
    if (folder / CONFIG).exists():
        raise ValueError(f"{folder}: already holds a {CONFIG}; name another folder")
    config = {
        "model_type": "decision_transformer",
        "architectures": [THEIRS],
        "state_dim": spec.observation_dim,
        "act_dim": spec.action_dim,
        "hidden_size": spec.model.width,
        "max_ep_len": spec.max_timesteps,
        "action_tanh": all(spec.bounded),
        "vocab_size": 1,
        "n_positions": max(1024, 3 * spec.model.context_length),
        "n_layer": spec.model.num_layers,
        "n_head": spec.model.num_heads,
        "n_inner": None,
        **{name: spec.model.dropout for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")},
        **_NEEDED,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    tensors = to_tensors(policy.params, spec, config["n_positions"])
    content = save(tensors, metadata={"format": "pt"})  # what from_pretrained asks for
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(content)
    known = ImportedUnits.of(spec, sha256_of(folder / WEIGHTS))
    (folder / UNITS).write_text(json.dumps(dataclasses.asdict(known), indent=1) + "\n")
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n")


def _read_config(path: Path) -> dict[str, Any]:
    """config.json with its defaults filled in.

    Raises:
        ValueError: naming an option that our model has no counterpart of.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; name a folder that save_pretrained wrote")
    given = read_json(path)
    if not isinstance(given, dict):
        raise ValueError(f"{path}: does not read as a JSON object")
    config = {**_DEFAULTS, **_NEEDED, "model_type": None, **given}
    needed = {"model_type": "decision_transformer", **_NEEDED}
    if config["n_inner"] is not None:
        needed["n_inner"] = 4 * config["hidden_size"]
    for name, value in needed.items():
        if config[name] != value:
            raise ValueError(f"{path}: {name} is {config[name]!r}; only {value!r} is supported")
    return config


def _read_tensors(path: Path, sha256: str | None) -> Tensors:
    if not path.is_file():
        others = sorted(p.name for p in path.parent.glob("*") if p.suffix in (".bin", ".pt"))
        found = f" (but {', '.join(others)})" if others else ""
        raise ValueError(
            f"{path}: no such file{found}; save the model again with a transformers that writes it"
        )
    if sha256 is not None and sha256_of(path) != sha256:
        raise ValueError(
            f"{path}: is not the file that {UNITS} was written for; if it was changed on "
            f"purpose, take sha256 out of {UNITS}"
        )
    try:
        tensors = load(path.read_bytes())
    except Exception as error:  # KeyError: a type that NumPy does not have
        raise ValueError(
            f"{path}: does not read ({shown(first_line(error))}); it must be whole, and of float32 "
            f"or float16"
        ) from None
    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise ValueError(
                f"{path}: {name} holds NaN or infinity, and no action can be computed; save the "
                f"model again from weights that are sound"
            )
    return tensors


def _check_sizes(folder: Path, config: dict[str, Any], tensors: Tensors) -> None:
    """Hold the sizes that config.json declares against the tensors, before a model is laid out.

    Raises:
        ValueError: naming the option and both sizes.
    """
    layers = {name.split(".")[2] for name in tensors if re.match(r"encoder\.h\.\d+\.", name)}
    held: dict[str, int] = {"n_layer": len(layers)}
    for option, name, axis in (
        ("hidden_size", "embed_ln.weight", 0),
        ("state_dim", "embed_state.weight", 1),
        ("act_dim", "embed_action.weight", 1),
        ("max_ep_len", "embed_timestep.weight", 0),
    ):
        if name in tensors and tensors[name].ndim > axis:  # what is missing is named later
            held[option] = tensors[name].shape[axis]
    for option, size in held.items():
        if type(config[option]) is not int or config[option] > size:  # fewer are named later
            raise ValueError(
                f"{folder / CONFIG}: {option} is {str(config[option])[:80]}, but {WEIGHTS} holds "
                f"{size}; take both from one model"
            )


def _spec_of(config: dict[str, Any], known: ImportedUnits) -> PolicySpec:
    model = ModelConfig(
        recipe="chen2021",
        layout=LAYOUT,
        context_length=known.context_length,
        num_layers=config["n_layer"],
        num_heads=config["n_head"],
        width=config["hidden_size"],
        dropout=config["resid_pdrop"],
        return_dropout=0.0,
    )
    return known.spec(
        model, config["state_dim"], config["act_dim"], config["max_ep_len"], config["action_tanh"]
    )


def _check_expressible(spec: PolicySpec) -> None:
    for name, value, needed in (
        ("model.recipe", spec.model.recipe, "chen2021"),
        ("model.layout", spec.model.layout, LAYOUT),
    ):
        if value != needed:
            raise ValueError(f"{name} is {value}; a {THEIRS} can only be of {needed}")
    seen, space = spec.observation_space, spec.action_space
    if not isinstance(seen, spaces.Box) or spec.observation_parts.images:
        raise ValueError(f"observation space {seen}: a {THEIRS} sees numbers only")
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise ValueError(f"action space {space}: a {THEIRS} has continuous actions only")
    if not all(spec.bounded) and np.isfinite([space.low, space.high]).any():
        raise ValueError(
            f"action space {space}: the actions of a {THEIRS} are all bounded or all unbounded"
        )
