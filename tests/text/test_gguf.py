"""Are GGUF files of Llama architecture read as they are packed, and headers that lie refused?"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from dt.config.language_model import LanguageModelConfig
from dt.text.pretrained.gguf_file import dequantised, open_gguf
from dt.text.pretrained.gguf_tokenizer import read_gguf_tokenizer
from dt.text.pretrained.read import open_pretrained
from dt.text.pretrained.tensors import parts_of

gguf = pytest.importorskip("gguf")

RUN = LanguageModelConfig(longest=8, return_width=4)
WIDTH, HEADS, KEYS, HIDDEN, VOCABULARY = 64, 4, 2, 96, 12
LETTERS = ["<|endoftext|>", "a", "b", "c", "Ġ", "ab", "Ġc", "d", "e", "f", "g", "h"]


def write(path: Path, kind: str = "F32", **changed: Any) -> dict[str, np.ndarray]:
    """A small Llama as llama.cpp's converter lays it out; its tensors, unpacked again."""
    values: dict[str, Any] = {
        "block_count": 1,
        "context_length": 32,
        "embedding_length": WIDTH,
        "feed_forward_length": HIDDEN,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KEYS,
        "rope.freq_base": 1000.0,
        "attention.layer_norm_rms_epsilon": 1e-5,
        **changed,
    }
    writer = gguf.GGUFWriter(path, values.pop("architecture", "llama"))
    for name, value in values.items():
        add = writer.add_uint32 if isinstance(value, int) else writer.add_float32
        add(f"llama.{name}", value) if not isinstance(value, str) else writer.add_string(
            f"llama.{name}", value
        )
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(LETTERS)
    writer.add_token_types([3] + [1] * (len(LETTERS) - 1))
    writer.add_token_merges(["a b", "Ġ c"])
    rng, tensors = np.random.default_rng(0), {}
    size = WIDTH // HEADS
    shapes = {
        "token_embd": (VOCABULARY, WIDTH),
        "blk.0.attn_q": (WIDTH, WIDTH),
        "blk.0.attn_k": (KEYS * size, WIDTH),
        "blk.0.attn_v": (KEYS * size, WIDTH),
        "blk.0.attn_output": (WIDTH, WIDTH),
        "blk.0.ffn_gate": (HIDDEN, WIDTH),
        "blk.0.ffn_up": (HIDDEN, WIDTH),
        "blk.0.ffn_down": (WIDTH, HIDDEN),
        "blk.0.attn_norm": (WIDTH,),
        "blk.0.ffn_norm": (WIDTH,),
        "output_norm": (WIDTH,),
    }
    for name, shape in shapes.items():
        value = rng.normal(size=shape).astype(np.float32)
        packing = gguf.GGMLQuantizationType[kind if len(shape) > 1 else "F32"]
        packed = gguf.quantize(value, packing)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=packing)
        tensors[f"{name}.weight"] = gguf.dequantize(packed, packing)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q8_0"])
def test_tensors_equal_the_reference_s_unpacked_ones(kind: str, tmp_path: Path) -> None:
    expected = write(tmp_path / "x.gguf", kind)
    file = open_gguf(tmp_path / "x.gguf")
    assert file.tensors.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(dequantised(file, name), value)


@pytest.mark.slow
def test_parameters_are_those_of_the_file(tmp_path: Path) -> None:
    """Queries and keys have the pairs that are turned half a head apart."""
    expected = write(tmp_path / "x.gguf", "Q8_0")
    read = open_pretrained(tmp_path / "x.gguf", RUN)
    assert (read.config.width, read.config.key_heads, read.config.tied_head) == (WIDTH, KEYS, True)
    assert read.config.rope_theta == 1000.0 and read.config.positions_held == 32
    params = read.params()
    block = params["blocks"][0]
    queries = np.asarray(block["qkv"]["base"]["kernel"][...])[:, :WIDTH].T
    size = WIDTH // HEADS
    order = np.concatenate([np.arange(0, size, 2), np.arange(1, size, 2)])
    rows = np.concatenate([head * size + order for head in range(HEADS)])
    np.testing.assert_array_equal(queries, expected["blk.0.attn_q.weight"][rows])
    down = np.asarray(block["contract"]["base"]["kernel"][...]).T
    np.testing.assert_array_equal(down, expected["blk.0.ffn_down.weight"])
    known = {part.place for part in parts_of("llama", read.config)}
    assert len(jax.tree.leaves(params)) == len(known) + 3  # and the return's


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"architecture": "gemma"}, "general.architecture is 'gemma'; only 'llama'"),
        ({"block_count": 10**9}, "holds 1 layers, but its header declares 1000000000"),
        ({"embedding_length": 128}, r"embed_tokens.weight has shape \(12, 64\), but by its header"),
        ({"rope.scaling.type": "yarn"}, "scaling.type is 'yarn'; only 'none'"),
        ({"rope.dimension_count": 8}, "dimension_count is 8; only 16"),
        ({"context_length": 4}, "made for texts of 4 tokens"),
        ({"expert_count": 8}, "expert_count is 8; only 0"),
    ],
)
def test_another_model_is_one_line(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    write(tmp_path / "x.gguf", **changed)
    with pytest.raises(ValueError, match=message) as caught:
        open_pretrained(tmp_path / "x.gguf", RUN)
    assert "x.gguf" in str(caught.value) and "\n" not in str(caught.value)


def test_a_header_that_lies_takes_no_memory_and_is_one_line(tmp_path: Path) -> None:
    """Every length in it is made huge in turn, and the file is cut off everywhere."""
    path = tmp_path / "x.gguf"
    write(path)
    whole = path.read_bytes()
    file = open_gguf(path)
    header = min(tensor.start for tensor in file.tensors.values())
    refused = 0
    for at in range(0, header - 8, 7):
        path.write_bytes(whole[:at] + struct.pack("<Q", 1 << 50) + whole[at + 8 :])
        try:
            open_gguf(path)
        except ValueError as error:
            assert "x.gguf: " in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > header // 30
    for at in [*range(0, header, 31), len(whole) - 1]:
        path.write_bytes(whole[:at])
        with pytest.raises(ValueError, match="x.gguf: does not read"):
            open_gguf(path)


def test_its_tokenizer(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    write(tmp_path / "x.gguf")
    file = open_gguf(tmp_path / "x.gguf")
    made = read_gguf_tokenizer(file)
    assert made.encode("abc cb<|endoftext|>").ids == [5, 3, 6, 2, 0]
    assert made.decode([5, 3, 6, 2]) == "abc cb"
    assert made.get_vocab_size(with_added_tokens=True) == len(LETTERS)
    for name, value, message in (
        ("model", "llama", "tokenizer.ggml.model is 'llama', and only gpt2"),
        ("pre", "other", "tokenizer.ggml.pre is 'other', and only default"),
        ("merges", ["a z"], "merges has 'a z', whose parts are no tokens"),
        ("tokens", None, "has no tokenizer.ggml.tokens"),
    ):
        file.values[f"tokenizer.ggml.{name}"], before = value, file.values[f"tokenizer.ggml.{name}"]
        with pytest.raises(ValueError, match=message):
            read_gguf_tokenizer(file)
        file.values[f"tokenizer.ggml.{name}"] = before
