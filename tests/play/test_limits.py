"""Is the longest episode known, and does an environment without a limit get the model's?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from dt.play.limits import cut_kwargs, time_limit
from dt.play.make import make_envs

MODULE = """
import gymnasium
import numpy as np


class Endless(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 1.0, False, False, {}


gymnasium.register("PlantedEndless-v0", entry_point=Endless)
gymnasium.register("PlantedLimited-v0", entry_point=Endless, max_episode_steps=30)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module on the path that registers two environments when it is imported."""
    (tmp_path / "planted_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "planted_module"
    sys.modules.pop("planted_module", None)
    for env_id in ("PlantedEndless-v0", "PlantedLimited-v0"):
        gymnasium.registry.pop(env_id, None)


def test_a_time_limit_is_given_or_the_environment_s_own() -> None:
    assert time_limit("CartPole-v1", {}) == 500
    assert time_limit("CartPole-v1", {"max_episode_steps": 9}) == 9
    assert time_limit("Nowhere-v7", {}) is None
    assert time_limit(None, {}) is None


def test_only_an_environment_without_a_limit_is_cut(module: str) -> None:
    """Its module is imported where it is about to be played, and not by asking for its limit."""
    assert time_limit(f"{module}:PlantedLimited-v0", {}) is None and module not in sys.modules
    assert cut_kwargs(f"{module}:PlantedEndless-v0", {}, 17) == {"max_episode_steps": 17}
    assert cut_kwargs("PlantedEndless-v0", {"x": 1}, 17) == {"x": 1, "max_episode_steps": 17}
    assert time_limit(f"{module}:PlantedLimited-v0", {}) == 30
    assert cut_kwargs(f"{module}:PlantedLimited-v0", {}, 17) == {}
    assert cut_kwargs("CartPole-v1", {}, 17) == {}
    assert cut_kwargs("Nowhere-v7", {}, 17) == {}
    given = {"max_episode_steps": 99}
    assert cut_kwargs(f"{module}:PlantedEndless-v0", given, 17) == given
    with pytest.raises(ValueError, match="No module named 'nowhere_to_find'; install it, or put"):
        cut_kwargs("nowhere_to_find:Reach-v0", {}, 17)


def test_an_environment_of_a_module_ends_where_the_model_does(module: str) -> None:
    env_id = f"{module}:PlantedEndless-v0"
    envs = make_envs(env_id, 2, cut_kwargs(env_id, {}, 3))
    try:
        envs.reset(seed=0)
        ends = [envs.step(np.zeros(2, int))[3].tolist() for _ in range(3)]
    finally:
        envs.close()
    assert ends == [[False, False], [False, False], [True, True]]
