"""Tensors by their names in GPT-2's and Llama's folders, and which of our parameters they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from dt.config.language_model import LanguageModelConfig
from dt.files import shown
from dt.words import nearest

Architecture = Literal["gpt2", "llama"]
_LAYER = re.compile(r"(h|layers)\.\d+\.")
Place: TypeAlias = tuple[str | int, ...]  # of a parameter: ("blocks", 0, "qkv", "base", "kernel")


@dataclass(frozen=True)
class Tensors:
    """What a file or a folder declares, held against its bytes, and how one of them is read."""

    source: Path
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]
    """Gives a tensor as float32."""


@dataclass(frozen=True)
class Piece:
    """A tensor of theirs, as part of a parameter of ours."""

    name: str
    shape: tuple[int, ...]
    transposed: bool = False  # a layer of PyTorch keeps the transpose of our kernel


@dataclass(frozen=True)
class Part:
    """A parameter of ours, and the tensors that stand side by side in it, along the last axis."""

    place: Place
    pieces: tuple[Piece, ...]

    def joined(self, tensors: Tensors) -> np.ndarray:
        """Read our parameter."""
        read = (_as_ours(piece, tensors.read(piece.name)) for piece in self.pieces)
        return np.ascontiguousarray(np.concatenate(list(read), axis=-1))

    def apart(self, parameter: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Give their tensors, by name."""
        widths = [piece.shape[0 if piece.transposed else -1] for piece in self.pieces]
        ends = np.cumsum(widths)[:-1]
        for piece, value in zip(self.pieces, np.split(parameter, ends, axis=-1), strict=True):
            yield piece.name, np.ascontiguousarray(_as_ours(piece, value))


def _as_ours(piece: Piece, value: np.ndarray) -> np.ndarray:
    return value.T if piece.transposed else value


def parts_of(architecture: Architecture, config: LanguageModelConfig) -> tuple[Part, ...]:
    """List our parameters that an architecture has too."""
    return tuple((_gpt2 if architecture == "gpt2" else _llama)(config))


def _gpt2(config: LanguageModelConfig) -> Iterator[Part]:
    D, F = config.width, config.hidden
    yield Part(("embed", "embedding"), (Piece("wte.weight", (config.vocabulary, D)),))
    yield Part(("places", "embedding"), (Piece("wpe.weight", (config.positions_held, D)),))
    for i in range(config.num_layers):
        block = ("blocks", i)
        for ours, theirs in (("norm_attention", "ln_1"), ("norm_mlp", "ln_2")):
            yield from _norm((*block, ours), f"h.{i}.{theirs}", D)
        for ours, theirs, shape in (
            ("qkv", "attn.c_attn", (D, 3 * D)),
            ("out", "attn.c_proj", (D, D)),
            ("expand", "mlp.c_fc", (D, F)),
            ("contract", "mlp.c_proj", (F, D)),
        ):
            place, name = (*block, ours, "base"), f"h.{i}.{theirs}"
            yield Part((*place, "kernel"), (Piece(f"{name}.weight", shape),))
            yield Part((*place, "bias"), (Piece(f"{name}.bias", shape[1:]),))
    yield from _norm(("norm",), "ln_f", D)
    yield from _head(config)


def _norm(place: Place, name: str, width: int) -> Iterator[Part]:
    yield Part((*place, "scale"), (Piece(f"{name}.weight", (width,)),))
    yield Part((*place, "bias"), (Piece(f"{name}.bias", (width,)),))


def _head(config: LanguageModelConfig) -> Iterator[Part]:
    if not config.tied_head:
        shape = (config.vocabulary, config.width)
        yield Part(("head", "kernel"), (Piece("lm_head.weight", shape, True),))


def _llama(config: LanguageModelConfig) -> Iterator[Part]:
    D, F, d = config.width, config.hidden, config.head_size
    queries, keys = config.num_heads * d, config.key_heads * d
    yield Part(("embed", "embedding"), (Piece("embed_tokens.weight", (config.vocabulary, D)),))
    for i in range(config.num_layers):
        block, name = ("blocks", i), f"layers.{i}"
        for ours, theirs in (
            ("norm_attention", "input_layernorm"),
            ("norm_mlp", "post_attention_layernorm"),
        ):
            yield Part((*block, ours, "scale"), (Piece(f"{name}.{theirs}.weight", (D,)),))
        for ours, pieces in (
            (
                "qkv",
                (
                    ("self_attn.q_proj", (queries, D)),
                    ("self_attn.k_proj", (keys, D)),
                    ("self_attn.v_proj", (keys, D)),
                ),
            ),
            ("out", (("self_attn.o_proj", (D, queries)),)),
            ("expand", (("mlp.gate_proj", (F, D)), ("mlp.up_proj", (F, D)))),
            ("contract", (("mlp.down_proj", (D, F)),)),
        ):
            yield Part(
                (*block, ours, "base", "kernel"),
                tuple(Piece(f"{name}.{part}.weight", shape, True) for part, shape in pieces),
            )
    yield Part(("norm", "scale"), (Piece("norm.weight", (D,)),))
    yield from _head(config)


def checked_parts(
    architecture: Architecture, config: LanguageModelConfig, tensors: Tensors, config_name: str
) -> tuple[Part, ...]:
    """Hold what an architecture needs against what is declared, before memory is taken.

    Args:
        config_name: what declares the sizes, for errors.

    Raises:
        ValueError: naming a tensor that is missing, unknown or of another shape.
    """
    layers = {name.split(".")[1] for name in tensors.shapes if _LAYER.match(name)}
    if config.num_layers > len(layers):
        raise ValueError(
            f"{tensors.source}: holds {len(layers)} layers, but {config_name} declares "
            f"{config.num_layers}; take both from one model"
        )
    parts = parts_of(architecture, config)
    needed = {piece.name: piece.shape for part in parts for piece in part.pieces}
    for name, shape in needed.items():
        held = tensors.shapes.get(name)
        if held is None:
            raise ValueError(f"{tensors.source}: no tensor {name}, which {config_name} asks for")
        if held != shape:
            raise ValueError(
                f"{tensors.source}: {name} has shape {held}, but by {config_name} it has {shape}"
            )
    for name in tensors.shapes:
        if name not in needed:
            near = nearest(name[:80], needed)
            raise ValueError(
                f"{tensors.source}: tensor {shown(name[:80])} has no place in the model"
                + (f", which has {near}" if near else "")
            )
    return parts


def at(tree: Any, place: Place) -> Any:
    """Find what stands at a place of nested dictionaries and lists."""
    for key in place:
        tree = tree[key]
    return tree
