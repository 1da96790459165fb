"""README's Python and its commands on own data do what they say, with fewer updates."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dt.cli.main import main

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)
COMMANDS = re.findall(r"^dt (.*?)(?:  # .*)?$", README, re.M)
# What is asked for -> what the test can wait for.
SMALLER = {
    "range(500)": "range(4)",
    "num_steps=5000": (
        "num_steps=4, log_interval=2, model=dict(num_layers=1, width=8, context_length=3), "
        "data=dict(batch_size=8), "
        "evaluation=dict(num_targets=2, episodes=2, max_episode_steps=12)"
    ),
}


def smaller(block: str) -> str:
    assert all(asked in block for asked in SMALLER)
    for asked, small in SMALLER.items():
        block = block.replace(asked, small)
    return block


@pytest.mark.slow
def test_from_a_frame_of_ones_own_loop_to_a_policy_its_card_and_films(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (own,) = [block for block in BLOCKS if "pandas" in block]
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(0)
    names: dict[str, Any] = {"my_policy": lambda observation: int(chance.integers(4))}
    exec(smaller(own), names)
    run = names["run"]
    assert len(run.data) == 4 and run.data.num_steps == len(names["frame"])
    card = json.loads((run.directory / "card.json").read_text())
    assert card["env_id"] == "LunarLander-v3" and len(card["targets"]) == 2
    names["policy"].reset(0.0)
    assert names["policy"].act(np.zeros(8, np.float32)) in range(4)

    (command,) = [each for each in COMMANDS if "--video" in each]
    monkeypatch.setattr(sys, "argv", ["dt", *command.split(), "--episodes", "2"])
    assert main() == 0, capsys.readouterr().err
    assert run.directory == Path("runs/default") and (run.directory / "latest-card.json").exists()
    films = sorted(Path("films").iterdir())
    assert len(films) == 4 and films[0].stem == "all-targets"
    if films[0].suffix == ".gif":  # without the extra `video`
        with Image.open(films[-1]) as picture:
            assert getattr(picture, "n_frames", 1) > 1

    (use,) = [block for block in BLOCKS if "policy.ask" in block]
    _, _, rest = use.partition("policy = run.policy()")
    names |= {"observations": np.zeros((2, 8), np.float32), "rewards": np.ones(2)}
    exec("policy = run.policy()" + rest, names)
    assert names["actions"].shape == (2,)
    assert names["policy"].act(names["observations"]).shape == (2,)
