"""Tensors of a Hugging Face folder: model.safetensors, or several files and their index."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import safe_open

from dt.config.language_model import LanguageModelConfig
from dt.files import first_line, read_json, refuse_links_out, shown
from dt.text.pretrained.tensors import Architecture, Tensors

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
RETURN_FILE = "dt_return.safetensors"  # ours, beside theirs
# What a whole model's tensors begin with, and the bare one's do not.
PREFIX: dict[Architecture, str] = {"gpt2": "transformer.", "llama": "model."}
# Masks and wavelengths that older versions saved.
_UNREAD = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)|.*rotary_emb\.inv_freq")
_TYPES = {"F32", "F16", "BF16", "F64"}


def open_folder(folder: Path, architecture: Architecture, tied: bool) -> Tensors:
    """Read the headers of a folder's files, whose sizes are held against their bytes.

    Args:
        tied: whether the head is the embedding; its tensor is then left out where it is there.

    Raises:
        ValueError: naming the file that is missing or damaged, or the tensor of another type.
    """
    places: dict[str, tuple[Path, str]] = {}  # the file, and the name in it
    shapes: dict[str, tuple[int, ...]] = {}
    types: dict[str, str] = {}
    for path in _files(folder):
        for full, (shape, kind) in _header(path).items():
            name = full.removeprefix(PREFIX[architecture])
            if _UNREAD.fullmatch(name) or (tied and name == "lm_head.weight"):
                continue
            if name in places:
                raise ValueError(f"{path}: tensor {shown(name[:80])} is in {places[name][0]} too")
            if kind not in _TYPES:
                raise ValueError(
                    f"{path}: {shown(name[:80])} is of type {kind}; only "
                    f"{', '.join(sorted(_TYPES))} are supported"
                )
            places[name], shapes[name], types[name] = (path, full), shape, kind

    def read(name: str) -> np.ndarray:
        path, full = places[name]
        with safe_open(path, framework="numpy") as file:
            value = file.get_tensor(full).astype(np.float32)
        return finite(path, name, value)

    return Tensors(folder, shapes, read)


def finite(path: Path, name: str, value: np.ndarray) -> np.ndarray:
    """Give a tensor back.

    Raises:
        ValueError: when it holds NaN or infinity.
    """
    if not np.isfinite(value).all():
        raise ValueError(
            f"{path}: {name} holds NaN or infinity; save the model again from sound weights"
        )
    return value


def _files(folder: Path) -> list[Path]:
    """List the files of weights."""
    index = folder / INDEX
    if (folder / WEIGHTS).is_file() or not index.is_file():
        names = [WEIGHTS]
    else:
        values = read_json(index)
        table = values.get("weight_map") if isinstance(values, dict) else None
        if not isinstance(table, Mapping) or not table:
            raise ValueError(f"{index}: has no weight_map, which says where each tensor is")
        names = sorted({str(name) for name in table.values()})
    for name in names:
        if not re.fullmatch(r"[\w.-]+\.safetensors", name):
            raise ValueError(f"{index}: names {shown(name[:80])!r}, which is no file beside it")
        if not (folder / name).is_file():
            others = sorted(p.name for p in folder.glob("*") if p.suffix in (".bin", ".pt"))
            found = f" (but {', '.join(others[:3])})" if others else ""
            raise ValueError(
                f"{folder / name}: no such file{found}; save the model as safetensors, whole"
            )
    paths = [folder / name for name in names]
    refuse_links_out(folder, paths)
    return paths


def _header(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Read the names, shapes and types of a file's tensors."""
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: (tuple(each.get_shape()), each.get_dtype()) for name, each in slices.items()
            }
    except Exception as error:  # the package has a kind of its own for damage, and others
        reason = shown(first_line(error))
        raise ValueError(f"{path}: does not read ({reason}); fetch it anew") from None


def read_return(folder: Path, config: LanguageModelConfig) -> dict[tuple[str, ...], np.ndarray]:
    """Read the return's part by the places of its parameters, where the folder holds it.

    Raises:
        ValueError: for a file that is damaged, or of another model.
    """
    path = folder / RETURN_FILE
    if not path.is_file():
        return {}
    refuse_links_out(folder, [path])
    needed = return_shapes(config)
    header = _header(path)
    for name, shape in needed.items():
        held = header[name][0] if name in header else "none"
        if held != shape or header[name][1] != "F32":
            raise ValueError(
                f"{path}: {name} has shape {held}, where {shape} is needed; give the "
                f"--model.return-width that it was trained with, or take the file away"
            )
    with safe_open(path, framework="numpy") as file:
        values = {name: finite(path, name, file.get_tensor(name)) for name in needed}
    return {tuple(name.split(".")): value for name, value in values.items()}


def return_shapes(config: LanguageModelConfig) -> dict[str, tuple[int, ...]]:
    """List the parameters that the return goes through, by name."""
    hidden, width = config.return_width, config.width
    return {
        "return_hidden.kernel": (1, hidden),
        "return_hidden.bias": (hidden,),
        **{f"blocks.{i}.returns.kernel": (hidden, width) for i in range(config.num_layers)},
    }
