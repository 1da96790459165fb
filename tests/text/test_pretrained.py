"""Are folders of GPT-2 and Llama read and written as transformers does, and damage refused?"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from dt.config.language_model import LanguageModelConfig
from dt.text.model.language_model import LanguageModel
from dt.text.pretrained.read import open_pretrained
from dt.text.pretrained.write import save_pretrained

RUN = LanguageModelConfig(longest=8, return_width=4)
TOKENS = np.random.default_rng(0).integers(0, 11, (2, 8))
SIZES = {"vocabulary": 11, "longest": 8, "width": 8, "num_heads": 2, "mlp_width": 12}
GPT2 = {"norm": "layer", "positions": "learned", "activation": "gelu", "biases": True}


def logits(params: nnx.State, config: LanguageModelConfig) -> np.ndarray:
    """Of our model, told no return."""
    from dt.text.model.language_model import abstract_model

    graph = nnx.graphdef(abstract_model(config))

    @jax.jit
    def run(params: nnx.State) -> jax.Array:
        model = nnx.merge(graph, params)
        return model.logits(model(TOKENS))

    return np.asarray(run(params))


def ours(**options: Any) -> tuple[nnx.State, LanguageModelConfig]:
    """A model with random numbers everywhere, as if it were trained."""
    config = LanguageModelConfig(**{**SIZES, "return_width": 4, **options})
    params = nnx.state(LanguageModel(config, rngs=nnx.Rngs(0)))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noise = [
        leaf + 0.1 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(tree, noise), config


def written(folder: Path, **options: Any) -> tuple[nnx.State, LanguageModelConfig]:
    params, config = ours(**options)
    save_pretrained(params, config, folder)
    return params, config


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [GPT2, {"num_key_heads": 1, "tied_head": False}], ids=["gpt2", "llama"]
)
def test_what_was_written_is_read_again(options: dict[str, Any], tmp_path: Path) -> None:
    """The return's part too, bit for bit."""
    params, config = written(tmp_path, num_layers=1, **options)
    again = open_pretrained(tmp_path, RUN)
    assert again.config.width == 8 and again.config.positions_held == 8
    jax.tree.map(np.testing.assert_array_equal, again.params(), params)


def test_adapters_are_merged(tmp_path: Path) -> None:
    params, config = written(tmp_path, num_layers=1, adapter_rank=2)
    plain = open_pretrained(tmp_path, RUN)
    np.testing.assert_allclose(
        logits(plain.params(), plain.config), logits(params, config), atol=1e-5
    )


def damage(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(model_type="bert"), "model_type is 'bert'; only .*'gpt2' and 'llama'"),
        (lambda c: c.pop("model_type"), "model_type is missing"),
        (lambda c: c.update(num_hidden_layers=10**9), "holds 1 layers, but .* declares 1000000000"),
        (lambda c: c.update(num_hidden_layers=10**12), "num_hidden_layers is 1000000000000; only"),
        (lambda c: c.update(vocab_size=10**9), r"embed_tokens.weight has shape \(11, 8\), but by"),
        (lambda c: c.update(hidden_size="8"), "hidden_size is '8'; only a whole number"),
        (lambda c: c.update(intermediate_size=13), r"gate_proj.weight has shape \(12, 8\), but"),
        (lambda c: c.update(attention_bias=True), "attention_bias is True; only False"),
        (lambda c: c.update(hidden_act="gelu"), "hidden_act is 'gelu'; only 'silu'"),
        (lambda c: c.update(rope_scaling={"rope_type": "llama3"}), "rope_type is 'llama3'; only"),
        (lambda c: c.update(rms_norm_eps=-1.0), "rms_norm_eps is -1.0; only a number above 0"),
        (lambda c: c.update(max_position_embeddings=4), "made for texts of 4 tokens, and model.l"),
        (lambda c: c.update(num_key_value_heads=3), "num_key_heads is 3; it must be a divisor"),
        (lambda c: c.update(tie_word_embeddings=False), "no tensor lm_head.weight"),
    ],
)
def test_a_folder_that_lies_is_one_line(
    change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    written(tmp_path, num_layers=1)
    damage(tmp_path, change)
    with pytest.raises(ValueError, match=message) as caught:
        open_pretrained(tmp_path, RUN)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    written(tmp_path, num_layers=1)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    for content in (whole[:-4], whole[:20], b"", struct.pack("<Q", 1 << 60) + whole[8:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="model.safetensors: does not read"):
            open_pretrained(tmp_path, RUN)
    tensors = load_file_of(whole, tmp_path)
    tensors["model.norm.weight"][0] = np.nan
    save_file(tensors, path)
    with pytest.raises(ValueError, match="norm.weight holds NaN"):
        open_pretrained(tmp_path, RUN).params()
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(2, np.float32)  # not read
    tensors["model.norm.bias"] = np.ones(8, np.float32)
    save_file(tensors, path)
    with pytest.raises(ValueError, match="tensor norm.bias has no place .* norm.weight"):
        open_pretrained(tmp_path, RUN)
    path.unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no such file \(but pytorch_model.bin\)"):
        open_pretrained(tmp_path, RUN)
    with pytest.raises(ValueError, match="holds no config.json"):
        open_pretrained(tmp_path / "elsewhere", RUN)


def load_file_of(content: bytes, folder: Path) -> dict[str, np.ndarray]:
    (folder / "whole").write_bytes(content)
    return load_file(folder / "whole")


def test_several_files_with_an_index(tmp_path: Path) -> None:
    """In 16 bits, half of the tensors each; links and names that lead elsewhere are refused."""
    params, config = written(tmp_path, num_layers=1)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    table = {}
    for i, names in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2])):
        half = {name: jnp.asarray(tensors[name], jnp.bfloat16) for name in names}
        save_file({n: np.asarray(v) for n, v in half.items()}, tmp_path / f"part-{i}.safetensors")
        table |= {name: f"part-{i}.safetensors" for name in names}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": table}))
    read = open_pretrained(tmp_path, RUN).params()
    for a, b in zip(jax.tree.leaves(read), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2)
    index.write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(ValueError, match="names '../model.safetensors', which is no file beside"):
        open_pretrained(tmp_path, RUN)
    index.write_text("[]")
    with pytest.raises(ValueError, match="has no weight_map"):
        open_pretrained(tmp_path, RUN)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"window": 4}, "model.window is 4"), ({"biases": True}, "model.biases is True; in a llama")],
)
def test_what_no_folder_can_hold_is_refused(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        save_pretrained({}, LanguageModelConfig(**{**SIZES, **options}), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_logits_equal_those_of_transformers(
    kind: str, tied: bool, num_layers: int, sharded: bool, tmp_path: Path
) -> None:
    """And what is written here loads there."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    shared = {"vocab_size": 11, "tie_word_embeddings": tied, "bos_token_id": 0, "eos_token_id": 0}
    if kind == "gpt2":
        config = transformers.GPT2Config(
            n_embd=8, n_positions=16, n_layer=num_layers, n_head=2, initializer_range=0.5, **shared
        )
        model = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.LlamaConfig(
            hidden_size=8,
            intermediate_size=12,
            num_hidden_layers=num_layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=16,
            rope_theta=1000.0,
            initializer_range=0.5,
            **shared,
        )
        model = transformers.LlamaForCausalLM(config)
    model.eval()

    def theirs(model: Any) -> np.ndarray:
        with torch.no_grad():
            return model(torch.tensor(TOKENS)).logits.numpy()

    model.save_pretrained(tmp_path / "theirs", max_shard_size="1KB" if sharded else "1GB")
    assert (tmp_path / "theirs" / "model.safetensors").is_file() != sharded
    read = open_pretrained(tmp_path / "theirs", RUN)
    params = read.params()
    np.testing.assert_allclose(logits(params, read.config), theirs(model), atol=1e-4)
    save_pretrained(params, read.config, tmp_path / "ours")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    np.testing.assert_allclose(theirs(loaded), theirs(model), atol=1e-6)
