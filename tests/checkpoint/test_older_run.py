"""A run of an older version loads, is played and trained on.

older_run.tar.xz holds one of version 0.1.0 at commit 4464c8f, before `dt/` was divided into rooms:
log.npz, of 20 episodes of CartPole, and run/, by its train.py with --data log.npz --num-steps 4
--model.num-layers 1 --model.width 8 --model.context-length 3 --data.batch-size 8
--checkpoint-interval 2 --evaluation.episodes 2, without its pictures and its first checkpoint.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from script_process import Scripts

import dt
from dt.checkpoint.load import load_policy
from dt.checkpoint.manifest import complete_steps
from dt.evaluation.comparison import read_card


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with tarfile.open(Path(__file__).with_name("older_run.tar.xz")) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


@pytest.fixture(scope="module")
def scripts() -> Iterator[Scripts]:
    scripts = Scripts()
    yield scripts
    scripts.close()


def test_it_loads_and_acts(folder: Path) -> None:
    policy = load_policy(folder / "run")
    policy.reset([20.0, 40.0])
    actions = policy.act(np.zeros((2, 4), np.float32))
    assert all(policy.spec.action_space.contains(action) for action in actions)
    card = read_card(folder / "run")
    assert card.checkpoint_step == 4 and len(card.targets) == 7


@pytest.mark.slow
def test_it_is_played_an_episode(folder: Path) -> None:
    card = dt.evaluate(folder / "run", targets=[20.0], episodes=1)
    assert card.episodes == 1 and card.targets[0].return_mean >= 8
    assert read_card(folder / "run" / "latest-card.json") == card


@pytest.mark.slow
def test_it_is_resumed(folder: Path, scripts: Scripts) -> None:
    words = ("--config", "run/config.json", "--run-dir", "run", "--resume", "--num-steps", 6)
    done = scripts.run("train.py", *words, "--evaluation.env", "none", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert complete_steps(folder / "run" / "checkpoints") == [4, 6]
    lines = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert all(np.isfinite(line["loss"]) for line in lines)


@pytest.mark.slow
def test_logs_that_lead_out_of_it_are_not_written_to(folder: Path, scripts: Scripts) -> None:
    (folder / "mine").write_text("kept")
    (folder / "run" / "metrics.jsonl").unlink()
    (folder / "run" / "metrics.jsonl").symlink_to(folder / "mine")
    words = ("--config", "run/config.json", "--run-dir", "run", "--resume", "--num-steps", 6)
    done = scripts.run("train.py", *words, "--evaluation.env", "none", cwd=folder)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "metrics.jsonl: is a link to" in done.stderr
    assert (folder / "mine").read_text() == "kept"
