"""Weights & Biases is asked for by a flag, and its absence is said before the data are read."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import make_config, make_dataset

from dt.config import LogConfig
from dt.training.run import prepare

# In a process of its own: wandb starts others, and warns of what our tests take for errors.
TRAIN = """
import sys, dataclasses
sys.path.insert(0, sys.argv[1])
from cards import make_card
from tiny import make_config, make_dataset
from dt.config import LogConfig
from dt.evaluation.score_run import log_card
from dt.training.run import fit, prepare

for num_steps in (2, 4):
    config = dataclasses.replace(
        make_config(num_layers=1), run_dir=sys.argv[2], num_steps=num_steps,
        log=LogConfig(wandb="steering"), resume=num_steps == 4,
    )
    run = prepare("default", config, data=make_dataset([7, 2, 11]))
    fit(run)
log_card(run, make_card(checkpoint_step=4))
"""


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="it is installed")
def test_what_is_not_installed_is_said_in_one_line(tmp_path: Path) -> None:
    log = LogConfig(wandb="steering")
    config = dataclasses.replace(make_config(), log=log, run_dir=str(tmp_path / "run"))
    with pytest.raises(ValueError, match=r"^--log.wandb steering: needs .* 'dt-steer\[wandb\]'$"):
        prepare("default", config, data=make_dataset([7, 2, 11]))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is an extra")
def test_weights_and_biases_keeps_a_run_offline(tmp_path: Path) -> None:
    tests = Path(__file__).parents[1]
    words = [sys.executable, "-c", TRAIN, str(tests), str(tmp_path / "run")]

    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    ended = subprocess.run(words, cwd=tests.parent, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    name = (tmp_path / "run" / "wandb-id").read_text().strip()
    kept = sorted((tmp_path / "run" / "wandb").glob(f"offline-run-*-{name}/run-{name}.wandb"))
    assert len(kept) == 3  # a part of the same run each: it was resumed, and its card came last
    for path, held in zip(kept, (b"updates_per_second",) * 2 + (b"final/slope",), strict=True):
        assert held in path.read_bytes()
        assert b"steering" in path.read_bytes()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 4]

    words[-1] = str(tmp_path / "online")
    del environment["WANDB_MODE"]
    nobody = {**environment, "HOME": str(tmp_path), "WANDB_BASE_URL": "http://127.0.0.1:9"}
    ended = subprocess.run(words, cwd=tests.parent, env=nobody, capture_output=True, text=True)
    said = ended.stderr.strip().splitlines()[-1]
    assert said.startswith("ValueError: --log.wandb steering: ") and "WANDB_MODE=offline" in said
