"""Match our parameters with the tensors of Hugging Face's DecisionTransformerModel.

Every tensor that an action depends on has its place. `encoder.wpe[0]`, which theirs adds to every
token, is added to the bias of the embeddings' LayerNorm: the same function. The heads for states
and returns, which Chen et al. 2021 leave untrained, are not read, and are written as zeros.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from flax import nnx

from dt.spec.spec import PolicySpec

Tensors = dict[str, np.ndarray]
Path = tuple[str | int, ...]

# Tensors that no prediction of an action reads; older versions saved their causal masks too.
_UNREAD = re.compile(
    r"encoder\.wte\.weight|predict_(state|return)\.(weight|bias)"
    r"|encoder\.h\.\d+\.attn\.(bias|masked_bias)"
)
# Linear keeps the transpose of our kernel; Conv1D, in the blocks, keeps our kernel.
_TRANSPOSED = re.compile(r"(embed_(return|state|action)|predict_action\.0)\.weight")


def tensor_paths(num_layers: int) -> dict[str, Path]:
    """The name of each tensor -> the path of the same numbers in our parameters."""
    modules: dict[str, Path] = {
        "embed_return": ("embed", "returns"),
        "embed_state": ("embed", "observation", "numbers"),
        "embed_action": ("embed", "action", "numbers"),
        "embed_ln": ("embed", "norm"),
        "encoder.ln_f": ("transformer", "norm"),
        "predict_action.0": ("head", "numbers", "out"),
    }
    block: dict[str, Path] = {
        "ln_1": ("norm_attention",),
        "attn.c_attn": ("attention", "qkv"),
        "attn.c_proj": ("attention", "out"),
        "ln_2": ("norm_mlp",),
        "mlp.c_fc": ("expand",),
        "mlp.c_proj": ("contract",),
    }
    for i in range(num_layers):
        for name, path in block.items():
            modules[f"encoder.h.{i}.{name}"] = ("transformer", "blocks", i, *path)
    paths: dict[str, Path] = {"embed_timestep.weight": ("embed", "timestep", "embedding")}
    for name, path in modules.items():
        paths[f"{name}.weight"] = (*path, "scale" if "norm" in str(path[-1]) else "kernel")
        paths[f"{name}.bias"] = (*path, "bias")
    return paths


def to_ours(name: str, tensor: np.ndarray, num_heads: int) -> np.ndarray:
    """A tensor as our parameter has it."""
    if ".c_attn." in name:
        return _regrouped(tensor, 3, num_heads)
    return tensor.T if _is_transposed(name) else tensor


def to_theirs(name: str, parameter: np.ndarray, num_heads: int) -> np.ndarray:
    """The inverse."""
    if ".c_attn." in name:
        return _regrouped(parameter, num_heads, 3)
    return parameter.T if _is_transposed(name) else parameter


def _is_transposed(name: str) -> bool:
    return _TRANSPOSED.fullmatch(name) is not None


def to_params(tensors: Tensors, like: Any, num_heads: int, source: object) -> dict[str, Any]:
    """Tensors -> parameters of the shapes of `like`, as a pure dictionary.

    Args:
        source: what errors name as the tensors' origin.

    Raises:
        ValueError: naming a tensor that is missing, unknown or of another shape.
    """
    params = nnx.to_pure_dict(like)
    paths = tensor_paths(len(params["transformer"]["blocks"]))
    known = {*paths, "encoder.wpe.weight"}
    for name in sorted(known - tensors.keys()):
        raise ValueError(f"{source}: no tensor {name}; this is no whole DecisionTransformerModel")
    for name in sorted(tensors.keys() - known):
        if not _UNREAD.fullmatch(name):
            raise ValueError(f"{source}: unknown tensor {name}; config.json has no part for it")
    for name, path in paths.items():
        value, shape = tensors[name].astype(np.float32), _at(params, path).shape
        expected = shape[::-1] if _is_transposed(name) else shape
        if value.shape != expected:
            raise ValueError(
                f"{source}: {name} has shape {value.shape}, but by config.json it has {expected}"
            )
        if name == "embed_ln.bias":
            value = value + tensors["encoder.wpe.weight"][0].astype(np.float32)
        value = to_ours(name, value, num_heads)
        _at(params, path[:-1])[path[-1]] = np.ascontiguousarray(value)
    return params


def to_tensors(params: Any, spec: PolicySpec, num_positions: int) -> Tensors:
    """Parameters -> tensors, with what of our units theirs have no place for folded in.

    Ours sees a return as (R - mean) / scale, theirs as R / scale; and where actions are unbounded,
    ours works in standardised ones, theirs in the environment's.
    """
    ours = nnx.to_pure_dict(params)
    tensors: Tensors = {}
    for name, path in tensor_paths(spec.model.num_layers).items():
        value = np.asarray(_at(ours, path), np.float32)
        tensors[name] = to_theirs(name, value, spec.model.num_heads)
    mean, scale = spec.return_normalizer.mean, spec.return_normalizer.scale
    tensors["embed_return.bias"] = (
        tensors["embed_return.bias"] - tensors["embed_return.weight"][:, 0] * mean / scale
    )
    if not all(spec.bounded):
        if spec.action_normalizer.origin is not None:
            raise ValueError(
                f"actions are counted from {spec.action_normalizer.origin.max():g}, and the "
                f"weights of DecisionTransformerModel, in float32, have no place for that"
            )
        mean, scale = spec.action_normalizer.mean, spec.action_normalizer.scale
        tensors["embed_action.weight"] = tensors["embed_action.weight"] / scale
        shift = tensors["embed_action.weight"] @ mean
        tensors["embed_action.bias"] = tensors["embed_action.bias"] - shift
        tensors["predict_action.0.weight"] = tensors["predict_action.0.weight"] * scale[:, None]
        tensors["predict_action.0.bias"] = tensors["predict_action.0.bias"] * scale + mean
    width, states = spec.model.width, spec.observation_dim
    for name, shape in (
        ("encoder.wte.weight", (1, width)),
        ("encoder.wpe.weight", (num_positions, width)),
        ("predict_state.weight", (states, width)),
        ("predict_state.bias", (states,)),
        ("predict_return.weight", (1, width)),
        ("predict_return.bias", (1,)),
    ):
        tensors[name] = np.zeros(shape, np.float32)
    return {name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}


def _regrouped(values: np.ndarray, outer: int, inner: int) -> np.ndarray:
    """Columns in `outer` groups of `inner` the other way around: theirs are all queries, all keys
    and all values, ours the three of one head after another's."""
    groups = values.reshape(*values.shape[:-1], outer, inner, -1).swapaxes(-3, -2)
    return groups.reshape(values.shape)


def _at(tree: Any, path: Path) -> Any:
    for key in path:
        tree = tree[key]
    return tree
