"""A language model as a folder of Hugging Face's, with the return's part in a file of our own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from dt.config.language_model import LanguageModelConfig
from dt.files import json_text, written_whole
from dt.model.params import Params
from dt.text.pretrained.architecture import CONFIG, config_json
from dt.text.pretrained.folder import PREFIX, RETURN_FILE, WEIGHTS, return_shapes
from dt.text.pretrained.tensors import at, parts_of


def save_pretrained(
    params: Params,
    config: LanguageModelConfig,
    folder: Path,
    files: Mapping[str, str] | None = None,
    ids: Mapping[str, int | None] | None = None,
) -> None:
    """Write a model as a folder that transformers' `from_pretrained` and `--from` read.

    Without our own file it is the model of the null token: adapters are added to the matrices that
    they stand beside.

    Args:
        files: others to write, by name, such as tokenizer.json.
        ids: bos_token_id and eos_token_id.

    Raises:
        ValueError: for a model that is neither a GPT-2 nor a Llama, and for a folder that already
            holds one.
    """
    kind, values = config_json(config)
    if (folder / CONFIG).exists():
        raise ValueError(f"{folder}: already holds a {CONFIG}; name another folder")
    ours = nnx.to_pure_dict(jax.tree.map(np.asarray, params))
    theirs: dict[str, np.ndarray] = {}
    for part in parts_of(kind, config):
        for name, value in part.apart(_merged(ours, part.place)):
            prefix = "" if name.startswith("lm_head.") else PREFIX[kind]
            theirs[prefix + name] = value
    told = {name: np.ascontiguousarray(at(ours, _place(name))) for name in return_shapes(config)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensors in ((WEIGHTS, theirs), (RETURN_FILE, told)):
        with written_whole(folder / name) as beside:
            save_file(tensors, beside, metadata={"format": "pt"})  # which from_pretrained asks for
    for name, text in {**(files or {}), CONFIG: json_text({**values, **(ids or {})})}.items():
        with written_whole(folder / name) as beside:  # config.json last: it makes a model of it
            beside.write_text(text, encoding="utf-8")


def _merged(ours: Any, place: tuple[str | int, ...]) -> np.ndarray:
    """Give a parameter, with what its adapter adds to it."""
    value = np.asarray(at(ours, place), np.float32)
    layer = at(ours, place[:-2]) if place[-2:] == ("base", "kernel") else {}
    if "adapter_in" in layer:
        value = value + layer["adapter_in"]["kernel"] @ layer["adapter_out"]["kernel"]
    return value


def _place(name: str) -> tuple[str | int, ...]:
    return tuple(int(word) if word.isdigit() else word for word in name.split("."))
