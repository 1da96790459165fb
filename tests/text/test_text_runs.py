"""Does a run on text train, resume, write and make its card, and refuse what it must in a line?"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from dt.cli import evaluate as evaluate_command
from dt.cli import train as train_command
from dt.cli.train import parse_text_args
from dt.config import to_json
from dt.config.presets import POSTS, TEXT_PRESETS
from dt.config.text import TextConfig
from dt.files import structured
from dt.text.generator import load_generator
from dt.text.run import config_of_run

TINY = [
    *("--text.tokenizer", "bytes", "--model.longest", "24", "--model.width", "8"),
    *("--model.num-layers", "1", "--model.num-heads", "1", "--data.batch-size", "8"),
    *("--num-steps", "4", "--log-interval", "2", "--checkpoint-interval", "2"),
    *("--evaluation.samples", "4", "--evaluation.num-targets", "2"),
    *("--evaluation.judge", "builtins:list_of_lengths"),
]


def lengths(texts: list[str]) -> list[int]:
    """Judge texts by their lengths."""
    return [len(text) for text in texts]


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "posts.csv"
    words = [f"w{number}" for number in range(50)]
    lines = [f"{' '.join(rng.choice(words, 5))},{rng.normal():.3f}" for _ in range(120)]
    path.write_text("text,score\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    monkeypatch.setattr(builtins, "list_of_lengths", lengths, raising=False)


def train(*words: str) -> int:
    def no_demos(source: str):  # type: ignore[no-untyped-def]
        raise AssertionError(source)

    return train_command.main(["text", *words], no_demos)


@pytest.mark.slow
@pytest.mark.usefixtures("judged")
def test_an_interrupted_run_equals_an_unbroken_one_and_has_a_card(
    posts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    flags = ["--data", str(posts), *TINY]
    assert train(*flags, "--run-dir", str(whole)) == 0
    shutil.copytree(whole, parts)
    shutil.rmtree(parts / "checkpoints" / "4")  # as if it had been stopped behind update 2
    assert train(*flags, "--run-dir", str(parts), "--resume") == 0
    one, other = (load_generator(run_dir) for run_dir in (whole, parts))
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    card = json.loads((whole / "card.json").read_text())
    assert card["kind"] == "text" and len(card["targets"]) == 2
    assert card["reading"]["bits_a_character"] > 0 and card["judge"] == "builtins:list_of_lengths"
    page = (whole / "card.html").read_text()
    assert "<script" not in page and "http" not in page and "What was written" in page
    assert "votes are not truth" in capsys.readouterr().out

    def no_envs() -> None:
        raise AssertionError("no environment is played")

    words = [str(whole), "--samples", "2", "--guidance", "2", "--judge", "none"]
    assert evaluate_command.main(words, no_envs) == 0  # type: ignore[arg-type]
    (made,) = (whole / "cards").glob("*.json")
    again = json.loads(made.read_text())
    assert again["guidance"] == 2 and again["ratio"]["value"] is None
    assert one.write(np.zeros(3), seed=5) == other.write(np.zeros(3), seed=5)
    posts.write_text(posts.read_text() + "another,1\n")
    assert evaluate_command.main(words, no_envs) == 2  # type: ignore[arg-type]
    assert "is not the file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--data", "POSTS", "--text.score", "votes"], "no column 'votes' for --text.score"),
        (["--data", "POSTS", "--text.column", "score", "--text.score", "text"], "no number"),
        (["--data", "POSTS", "--text.tokenizer", "byte"], "did you mean 'bytes'"),
        (["--data", "nowhere.csv"], "nowhere.csv: cannot be read"),
        (["--data", "POSTS", "--text.judge-fraction", "0.95"], "below 1 together with"),
        (["--data", "POSTS", "--text.transform", "log1p"], "take --text.transform quantile"),
        (["--text.colum", "x"], "did you mean --text.column"),
        (["--init-from", "elsewhere"], "a run on text begins with weights of its own"),
    ],
)
def test_what_cannot_be_trained_is_one_line_and_leaves_nothing(
    flags: list[str],
    told: str,
    posts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_dir = tmp_path / "run"
    words = [str(posts) if word == "POSTS" else word for word in flags]
    posts.write_text(posts.read_text() + "low,-3\n")
    assert train(*words, "--run-dir", str(run_dir)) == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1
    assert not run_dir.exists()


def test_presets_of_text_are_read_back(tmp_path: Path) -> None:
    for config in (*TEXT_PRESETS.values(), POSTS):
        assert structured(TextConfig, json.loads(json.dumps(to_json(config)))) == config
    assert parse_text_args(["text"]) == TEXT_PRESETS["text"]
    given = parse_text_args(["text", "--data", "x.csv", "--num-steps", "3"])
    assert given.model == POSTS.model and given.num_steps == 3
    values = {"preset": "text", **to_json(dataclasses.replace(given, seed=4))}
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert config_of_run(tmp_path).seed == 4
    again = parse_text_args(["text", "--config", str(tmp_path / "config.json")])
    assert again.seed == 4 and again.data.source == "x.csv"
