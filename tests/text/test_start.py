"""Does a run begin with the weights of a folder, train what it is told to, and write it back?"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from dt.cli.export import main as export
from dt.cli.train import main as train
from dt.config.language_model import LanguageModelConfig
from dt.text.generator import load_generator
from dt.text.model.trained import names_of
from dt.text.pretrained.read import open_pretrained
from dt.text.pretrained.write import save_pretrained

RUN = LanguageModelConfig(longest=24, return_width=4)


def posts(path: Path, count: int = 120) -> Path:
    rng = np.random.default_rng(0)
    words = ["good", "bad", "fine", "dull", "film", "book", "very", "not"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "score"])
        for number in range(count):
            writer.writerow([" ".join(rng.choice(words, 6)) + f" {number}", rng.integers(0, 9)])
    return path


def folder_with_tokenizer(folder: Path) -> Path:
    """A Llama with random weights and a tokenizer of single bytes."""
    tokenizers = pytest.importorskip("tokenizers")
    from flax import nnx

    from dt.text.data.tokenizers import make_tokenizer
    from dt.text.model.language_model import LanguageModel

    assert tokenizers
    recorded = make_tokenizer("bpe", ["a good film", "not a good film"], 260).recorded()
    config = LanguageModelConfig(vocabulary=300, longest=32, width=8, num_heads=2, num_layers=2)
    params = nnx.state(LanguageModel(config, rngs=nnx.Rngs(3)))
    save_pretrained(params, config, folder, {"tokenizer.json": recorded.json})
    (folder / "dt_return.safetensors").unlink()  # as if it were from elsewhere
    return folder


def run(data: Path, folder: Path, run_dir: Path, *flags: str) -> int:
    words = ["text", "--data", str(data), "--from", str(folder), "--run-dir", str(run_dir)]
    words += ["--num-steps", "2", "--log-interval", "1", "--model.longest", "24"]
    words += ["--model.return-width", "4", "--evaluation.judge", "none"]
    words += ["--evaluation.samples", "2", "--evaluation.num-targets", "2"]
    words += ["--data.batch-size", "4", *flags]
    return train(words, lambda source: pytest.fail(source))


@pytest.mark.slow
def test_only_what_is_to_be_trained_leaves_the_folder_s_weights(tmp_path: Path) -> None:
    """And the run is written as a folder that is read again."""
    data, source = posts(tmp_path / "posts.csv"), folder_with_tokenizer(tmp_path / "source")
    flags = ("--start.trained", "adapters", "--model.adapter-rank", "2")
    assert run(data, source, tmp_path / "run", *flags) == 0
    before = open_pretrained(source, RUN).params()
    after = load_generator(tmp_path / "run")
    assert after.spec.model.positions_held == 32 and after.spec.tokenizer.size <= 300
    found = {names_of(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(before)[0]}
    changed = set()
    for path, leaf in jax.tree_util.tree_flatten_with_path(after.params)[0]:
        names = names_of(path)
        if names not in found or not np.array_equal(leaf, found[names]):
            changed |= {"adapters"} if "adapter" in names[-2] else set(names[-2:-1])
    assert changed == {"adapters", "returns", "return_hidden"}
    assert export([str(tmp_path / "run"), str(tmp_path / "out")]) == 0
    again = open_pretrained(tmp_path / "out", RUN).params()
    told = again["blocks"][0]["returns"]["kernel"][...]
    np.testing.assert_array_equal(told, after.params["blocks"][0]["returns"]["kernel"][...])
    assert (tmp_path / "out" / "tokenizer.json").is_file()


def test_what_cannot_be_begun_with_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, source = posts(tmp_path / "posts.csv"), folder_with_tokenizer(tmp_path / "source")
    config = source / "config.json"
    whole, tokenizer = config.read_text(), (source / "tokenizer.json").read_bytes()

    def refused(*flags: str) -> str:
        assert run(data, source, tmp_path / "run", *flags) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and not (tmp_path / "run").exists()
        return said

    (source / "tokenizer.json").unlink()
    assert "holds no tokenizer; put tokenizer.json there" in refused()
    (source / "tokenizer.json").write_bytes(tokenizer)
    assert "know only their own" in refused("--text.tokenizer", "bytes")
    config.write_text(json.dumps({**json.loads(whole), "model_type": "mamba"}))
    assert "model_type is 'mamba'" in refused()
    config.write_text(json.dumps({**json.loads(whole), "vocab_size": 200}))
    assert "embed_tokens.weight has shape (300, 8)" in refused()
    config.write_text(whole)
    assert "model.longest is 64; give a smaller one" in refused("--model.longest", "64")
    assert "model.adapter_rank is 0; it must be above 0" in refused("--start.trained", "adapters")
    assert "start.blocks is 3;" in refused("--start.trained", "blocks", "--start.blocks", "3")
    source = tmp_path / "none"
    assert "holds no config.json" in refused()
