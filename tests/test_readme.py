"""README's Python does what it says, with a smaller environment and fewer updates."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)
# What a block asks for -> what the test can wait for.
SMALLER = {
    '"LunarLander-v3"': '"CartPole-v1"',
    "range(500)": "range(8)",
    "num_steps=5000": (
        "num_steps=4, log_interval=2, model=dict(num_layers=1, width=8, context_length=3), "
        "data=dict(batch_size=8, cache='none'), evaluation=dict(num_targets=2, episodes=2)"
    ),
}


def smaller(block: str) -> str:
    for asked, small in SMALLER.items():
        block = block.replace(asked, small)
    return block


@pytest.mark.slow
def test_own_data_are_collected_kept_and_trained_on_and_the_run_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own,) = [block for block in BLOCKS if "np.savez" in block]
    assert all(asked in own for asked in SMALLER)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"my_policy": lambda observation: int(observation[2] > 0)}
    exec(smaller(own), names)
    run = names["run"]
    assert run.task is not None and run.task.env_id == "CartPole-v1"
    assert (run.directory / "card.json").is_file()

    (use,) = [block for block in BLOCKS if "policy.ask" in block]
    _, _, rest = use.partition("policy = run.policy()")
    envs = gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")
    names |= {"observations": envs.reset(seed=0)[0], "rewards": np.ones(2)}
    exec("policy = run.policy()" + rest, names)
    assert names["actions"].shape == (2,)
    assert names["policy"].act(names["observations"]).shape == (2,)
