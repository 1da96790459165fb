"""GGUF files of Llama architecture: a header held against the bytes, and tensors dequantised.

The header is read here, for the package `gguf` believes what it declares; the numbers of a
quantised tensor are the package's.
"""

from __future__ import annotations

import importlib.util
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dt.config.language_model import LanguageModelConfig
from dt.files import first_line, shown
from dt.text.pretrained.architecture import Declared, over_run
from dt.text.pretrained.folder import finite
from dt.text.pretrained.tensors import Tensors

if TYPE_CHECKING:
    import gguf

# Numbers by the code of their type; 8 is a string, 9 a list.
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _LIST = 8, 9
_LEAST = {_STRING: 8, **{code: struct.calcsize(kind) for code, kind in _SCALARS.items()}}
# Our name of a tensor -> the file's.
_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_TOP = {"token_embd": "embed_tokens", "output_norm": "norm", "output": "lm_head"}


class _Damaged(Exception):
    """What a header declares and its bytes do not hold."""


@dataclass
class _Reader:
    """A place in a file's bytes that moves on as they are read."""

    data: np.ndarray  # of bytes
    at: int = 0

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise _Damaged(f"{count} bytes are declared, {len(self.data) - self.at} are left")
        self.at += count
        return self.data[self.at - count : self.at].tobytes()

    def number(self, kind: str) -> Any:
        (value,) = struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))
        return value

    def text(self) -> str:
        return self.take(self.number("Q")).decode(errors="replace")

    def count(self, least: int, what: str) -> int:
        """Read how many there are of what takes at least so many bytes each."""
        value = self.number("Q")
        if value * least > len(self.data) - self.at:
            raise _Damaged(f"{value} {what} are declared, for which the file is too short")
        return value

    def value(self, code: int) -> Any:
        if code in _SCALARS:
            return self.number(_SCALARS[code])
        if code == _STRING:
            return self.text()
        if code != _LIST:
            raise _Damaged(f"a value is of type {code}, which there is none of")
        kind = self.number("I")
        if kind not in _LEAST:
            raise _Damaged(f"a list is of type {kind}, which there is none of")
        count = self.count(_LEAST[kind], "items of a list")
        if kind == _STRING:
            return [self.text() for _ in range(count)]
        return np.frombuffer(
            self.take(count * _LEAST[kind]), f"<{np.dtype(_SCALARS[kind]).str[1:]}"
        )


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor lies, and how it is packed."""

    shape: tuple[int, ...]
    kind: gguf.GGMLQuantizationType
    start: int  # of its bytes in the file
    row: int  # bytes of one row
    size: int  # of all bytes


@dataclass(frozen=True)
class GgufFile:
    """What a file declares: values by name, and its tensors."""

    path: Path
    values: dict[str, Any]
    tensors: dict[str, _Tensor]
    data: np.ndarray


def open_gguf(path: Path) -> GgufFile:
    """Read a file's header; no tensor is read yet.

    Raises:
        ValueError: naming the file, when it is no GGUF, damaged, or the package is missing.
    """
    package(path)
    try:
        data = np.memmap(path, np.uint8, mode="r")
        reader = _Reader(data)
        if reader.take(4) != b"GGUF":
            raise _Damaged("it does not begin as a GGUF file")
        version = reader.number("I")
        if version not in (2, 3):
            raise _Damaged(f"it is of version {version}, where 2 and 3 are known")
        num_tensors, num_values = reader.count(24, "tensors"), reader.count(13, "values")
        values: dict[str, Any] = {}
        for _ in range(num_values):
            name = reader.text()
            values[name] = reader.value(reader.number("I"))
        return GgufFile(path, values, dict(_tensors(reader, num_tensors, values)), data)
    except (_Damaged, OSError, ValueError) as error:  # ValueError: an empty file
        raise ValueError(
            f"{path}: does not read ({shown(first_line(error))}); fetch it anew"
        ) from None


def _tensors(reader: _Reader, count: int, values: dict[str, Any]) -> Iterator[tuple[str, _Tensor]]:
    """Read where the tensors lie, and hold it against the file."""
    import gguf

    declared = []
    for _ in range(count):
        name, num_axes = reader.text(), reader.number("I")
        if not 1 <= num_axes <= 4:
            raise _Damaged(f"tensor {name[:80]} has {num_axes} axes")
        shape = tuple(reversed([reader.number("Q") for _ in range(num_axes)]))
        declared.append((name, shape, reader.number("I"), reader.number("Q")))
    alignment = values.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise _Damaged(f"general.alignment is {str(alignment)[:80]}; it must be a power of two")
    start, end = -(-reader.at // alignment) * alignment, 0
    for name, shape, code, offset in sorted(declared, key=lambda each: each[3]):
        try:
            kind = gguf.GGMLQuantizationType(code)
        except ValueError:
            raise _Damaged(f"tensor {name[:80]} is packed in way {code}, unknown here") from None
        per_block, block = gguf.GGML_QUANT_SIZES[kind]
        if 0 in shape or shape[-1] % per_block:
            raise _Damaged(f"tensor {name[:80]} has shape {shape}, which {kind.name} cannot pack")
        row = shape[-1] // per_block * block
        size = math.prod(shape[:-1]) * row
        if offset < end or start + offset + size > len(reader.data):
            raise _Damaged(f"tensor {name[:80]} lies where another does, or behind the file's end")
        end = offset + size
        yield name, _Tensor(shape, kind, start + offset, row, size)


def llama_config(file: GgufFile, run: LanguageModelConfig) -> LanguageModelConfig:
    """Read the sizes over the run's options.

    Raises:
        ValueError: for another architecture, and naming what is wrong or not supported.
    """
    declared = Declared(file.path, file.values)
    declared.one_of("general.architecture", ("llama",))
    declared.one_of("llama.rope.scaling.type", ("none", ""))
    declared.one_of("llama.expert_count", (0,))
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise ValueError(f"{file.path}: no tensor token_embd.weight of two axes")
    width = declared.count("llama.embedding_length")
    heads = declared.count("llama.attention.head_count")
    size = declared.count("llama.attention.key_length", max(width // heads, 1))
    declared.one_of("llama.rope.dimension_count", (size,))
    own = {
        "norm": "rms",
        "positions": "rotary",
        "activation": "swiglu",
        "biases": False,
        "vocabulary": embedding.shape[0],
        "num_positions": declared.count("llama.context_length"),
        "width": width,
        "num_layers": declared.count("llama.block_count"),
        "num_heads": heads,
        "num_key_heads": declared.count("llama.attention.head_count_kv", heads),
        "head_width": size,
        "mlp_width": declared.count("llama.feed_forward_length"),
        "tied_head": "output.weight" not in file.tensors,
        "epsilon": declared.positive("llama.attention.layer_norm_rms_epsilon", 1e-5),
        "rope_theta": declared.positive("llama.rope.freq_base", 10_000.0),
    }
    return over_run(file.path, own, run)


def llama_tensors(file: GgufFile, config: LanguageModelConfig) -> Tensors:
    """Give the tensors by the names of a Llama folder."""
    theirs = {_name_in_folder(name): name for name in file.tensors}

    def read(name: str) -> np.ndarray:
        value = dequantised(file, theirs[name])
        for part, heads in (("q_proj", config.num_heads), ("k_proj", config.key_heads)):
            if f".{part}." in name:
                value = _half_a_head_apart(value, heads)
        return finite(file.path, theirs[name], value)

    shapes = {ours: file.tensors[name].shape for ours, name in theirs.items()}
    return Tensors(file.path, shapes, read)


def dequantised(file: GgufFile, name: str) -> np.ndarray:
    """Read a tensor as float32, by the package's own formula for its packing.

    Raises:
        ValueError: for a packing that the package has none for.
    """
    import gguf

    tensor = file.tensors[name]
    data = file.data[tensor.start : tensor.start + tensor.size]
    try:
        value = gguf.dequantize(data.reshape(-1, tensor.row), tensor.kind)
    except NotImplementedError:
        raise ValueError(
            f"{file.path}: {name} is packed as {tensor.kind.name}, which gguf does not unpack"
        ) from None
    return value.astype(np.float32, copy=False).reshape(tensor.shape)


def package(needed_for: object) -> None:
    """Refuse to go on without the package `gguf`."""
    if importlib.util.find_spec("gguf") is None:
        raise ValueError(f"{needed_for}: needs the package gguf; pip install 'dt-steer[gguf]'")


def _name_in_folder(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem in _TOP:
        return f"{_TOP[stem]}.{kind}"
    words = stem.split(".", 2)
    known = {theirs: ours for ours, theirs in _NAMES.items()}
    if len(words) == 3 and words[0] == "blk" and words[2] in known:
        return f"layers.{words[1]}.{known[words[2]]}.{kind}"
    return name


def _half_a_head_apart(value: np.ndarray, num_heads: int) -> np.ndarray:
    """Reorder rows: the file has the pairs that rotary positions turn beside each other."""
    rows, width = value.shape
    return value.reshape(num_heads, -1, 2, width).swapaxes(1, 2).reshape(rows, width)
