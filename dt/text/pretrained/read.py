"""Weights of others to start from: a GPT-2 or Llama folder, or a GGUF file, as our parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dt.config.language_model import LanguageModelConfig
from dt.files import read_json, require_memory
from dt.model.params import Params
from dt.text.model.language_model import LanguageModel, abstract_model
from dt.text.model.trained import names_of
from dt.text.pretrained.architecture import CONFIG, read_architecture
from dt.text.pretrained.folder import open_folder, read_return
from dt.text.pretrained.gguf_file import GgufFile, llama_config, llama_tensors, open_gguf
from dt.text.pretrained.tensors import Part, Tensors, checked_parts


@dataclass(frozen=True)
class Pretrained:
    """A model of others whose header was read, and whose tensors are not yet."""

    source: Path
    config: LanguageModelConfig
    """The run's options, with those that the model itself decides in their place."""
    tensors: Tensors
    parts: tuple[Part, ...]
    gguf: GgufFile | None
    """Where the source is such a file, which holds its tokenizer too."""

    def params(self, seed: int = 0) -> Params:
        """Read the weights; what the model does not have (the return's part, adapters) is drawn.

        Before it is trained, that adds nothing. A folder that this package wrote holds the
        return's part.

        Raises:
            ValueError: naming a tensor that is not finite, and what does not fit in memory.
        """
        sizes = (math.prod(shape) for shape in self.tensors.shapes.values())
        require_memory(f"{self.source}: the weights", 4 * sum(sizes))
        read = {tuple(map(str, part.place)): part.joined(self.tensors) for part in self.parts}
        if self.gguf is None:
            read |= read_return(self.source, self.config)
        drawn = _drawn(self.config, seed, read.keys())
        params = nnx.state(abstract_model(self.config))

        def value(path: Any, leaf: jax.ShapeDtypeStruct) -> jax.Array:
            names = names_of(path)
            value = read.get(names, drawn.get(names))
            assert value is not None and value.shape == leaf.shape, names
            return jnp.asarray(value)

        return jax.tree_util.tree_map_with_path(value, params)


def open_pretrained(source: Path, run: LanguageModelConfig) -> Pretrained:
    """Read what a folder or a .gguf file declares, and hold it against its bytes.

    Args:
        run: whose longest text, dropout, adapters, `return_width`, `dtype` and so on are kept.

    Raises:
        ValueError: in one line, for what is missing, damaged, or of another architecture.
    """
    if source.suffix == ".gguf" and source.is_file():
        file = open_gguf(source)
        config = llama_config(file, run)
        tensors = llama_tensors(file, config)
        parts = checked_parts("llama", config, tensors, "its header")
        return Pretrained(source, config, tensors, parts, file)
    path = source / CONFIG
    if not path.is_file():
        raise ValueError(
            f"{source}: holds no {CONFIG}; name a folder that save_pretrained wrote, or a .gguf "
            f"file"
        )
    kind, config = read_architecture(path, read_json(path), run)
    tensors = open_folder(source, kind, config.tied_head)
    parts = checked_parts(kind, config, tensors, CONFIG)
    return Pretrained(source, config, tensors, parts, None)


def _drawn(config: LanguageModelConfig, seed: int, known: Any) -> dict[tuple[str, ...], np.ndarray]:
    """Draw the parameters that are not known; the compiler leaves the others out."""

    def init() -> dict[str, jax.Array]:
        params = nnx.state(LanguageModel(config, rngs=nnx.Rngs(seed)))
        leaves = jax.tree_util.tree_flatten_with_path(params)[0]
        paths = ((names_of(path), leaf) for path, leaf in leaves)
        return {"/".join(names): leaf for names, leaf in paths if names not in known}

    return {tuple(name.split("/")): np.asarray(leaf) for name, leaf in jax.jit(init)().items()}
