"""Does every kind of observation go with every kind of action, from the spaces alone?"""

from __future__ import annotations

import json
import warnings
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from toy import NUM_STEPS, Toy, toy_dataset

from dt.checkpoint import load_policy
from dt.config import (
    DataConfig,
    EvaluationConfig,
    MeshConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
)
from dt.data import TrainingData
from dt.rollout import run_episodes
from dt.spec import PolicySpec
from dt.training import train

VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
CHOICES = spaces.MultiDiscrete([3, 2], start=[1, -1])
OBSERVATIONS: dict[str, gymnasium.Space] = {
    "box": VECTOR,
    "image": spaces.Box(0, 255, (6, 5, 3), np.uint8),
    "image-channels-first": spaces.Box(0, 255, (3, 6, 5), np.uint8),
    "stacked-frames": spaces.Box(0, 255, (4, 36, 36), np.uint8),
    "discrete": spaces.Discrete(3, start=-1),
    "multi-discrete": CHOICES,
    "multi-binary": spaces.MultiBinary(3),
    "dict": spaces.Dict(
        camera=spaces.Box(0, 255, (4, 4), np.uint8),
        arm=spaces.Tuple([VECTOR, spaces.Discrete(2)]),
        mode=spaces.MultiBinary(2),
    ),
    "tuple": spaces.Tuple([VECTOR, CHOICES, spaces.Dict(a=VECTOR)]),
}
ACTIONS: dict[str, gymnasium.Space] = {
    "box": spaces.Box(-1.0, 1.0, (2,), np.float32),
    "box-unbounded": spaces.Box(-np.inf, np.inf, (2,), np.float32),
    "discrete": spaces.Discrete(3, start=1),
    "multi-discrete": spaces.MultiDiscrete([[3, 2], [2, 4]], start=[[0, 5], [-1, 0]]),
    "multi-binary": spaces.MultiBinary(3),
    "dict": spaces.Dict(grip=spaces.Discrete(2), move=spaces.Box(-1.0, 1.0, (2,), np.float32)),
    "tuple": spaces.Tuple(
        [
            spaces.Discrete(3),
            spaces.Box(-np.inf, np.inf, (1,), np.float32),
            spaces.Dict(a=spaces.Box(-1.0, 1.0, (1,), np.float32), b=spaces.MultiBinary(2)),
        ]
    ),
}
CONFIG = TrainConfig(
    data=DataConfig(source="toy", batch_size=16, windows_per_segment=2),
    model=ModelConfig(
        context_length=2, num_layers=1, num_heads=1, width=16, dropout=0.0, return_dropout=0.0
    ),
    optimizer=OptimizerConfig(learning_rate=2e-2, warmup_steps=2, clip_norm=1.0),
    evaluation=EvaluationConfig(episodes=1),
    mesh=MeshConfig(data=1),
    num_steps=20,
    log_interval=10,
    checkpoint_interval=20,
)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_it_trains_saves_loads_and_plays(observation: str, action: str, tmp_path: Path) -> None:
    dataset = toy_dataset(OBSERVATIONS[observation], ACTIONS[action])
    data = TrainingData.of(dataset)
    spec = PolicySpec.of(data, CONFIG.model)
    train(spec, data, CONFIG, tmp_path, say=lambda line: None)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert len(losses) == 2 and losses[1] < 0.85 * losses[0]

    policy = load_policy(tmp_path, deterministic=True)
    make = partial(Toy, OBSERVATIONS[observation], ACTIONS[action])
    envs = SyncVectorEnv([make] * 8, autoreset_mode=AutoresetMode.DISABLED)
    targets = np.full(16, dataset.returns.max())
    rollouts = run_episodes(policy, envs, targets, np.arange(16))
    assert (rollouts.lengths == NUM_STEPS).all()
    # Chance is a half of each part of an action at best.
    assert rollouts.returns.mean() > 0.6 * NUM_STEPS


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_gymnasium_finds_no_fault_with_the_toy(observation: str, action: str) -> None:
    with warnings.catch_warnings():
        if action in ("box-unbounded", "tuple"):  # it is news to nobody that they are
            warnings.filterwarnings("ignore", message=".*Box action space .* is infinity.*")
            warnings.filterwarnings("ignore", message=".*symmetric and normalized space.*")
        check_env(Toy(OBSERVATIONS[observation], ACTIONS[action]), skip_render_check=True)
