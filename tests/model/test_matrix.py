"""Does every kind of observation go with every kind of action, from the spaces alone?"""

from __future__ import annotations

import warnings
from functools import partial
from itertools import product
from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from toy import NUM_STEPS, Toy, toy_dataset

from dt.acting.rollout import run_episodes
from dt.checkpoint.load import load_policy
from dt.checkpoint.save import Checkpointer
from dt.checkpoint.state import TrainState
from dt.config import DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from dt.data import Batch, TrainingData, draw_windows, gather
from dt.spec.spec import PolicySpec
from dt.training.step import Learner

VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
CHOICES = spaces.MultiDiscrete([3, 2], start=[1, -1])
OBSERVATIONS: dict[str, gymnasium.Space] = {
    "box": VECTOR,
    "image": spaces.Box(0, 255, (6, 5, 3), np.uint8),
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
    data=DataConfig(source="toy", batch_size=32, windows_per_segment=2),
    model=ModelConfig(
        context_length=2, num_layers=1, num_heads=1, width=16, dropout=0.0, return_dropout=0.0
    ),
    optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=2, clip_norm=1.0),
    num_steps=20,
)


# Always tried: every kind of part, alone or within others.
ALWAYS = {
    ("dict", "tuple"),
    ("stacked-frames", "discrete"),
    ("multi-discrete", "multi-binary"),
}
PAIRS = [
    pytest.param(*pair, marks=[] if pair in ALWAYS else [pytest.mark.thorough])
    for pair in product(OBSERVATIONS, ACTIONS)
]


@pytest.mark.slow
@pytest.mark.parametrize(("observation", "action"), PAIRS)
def test_it_trains_saves_loads_and_plays(observation: str, action: str, tmp_path: Path) -> None:
    dataset = toy_dataset(OBSERVATIONS[observation], ACTIONS[action])
    data = TrainingData.of(dataset)
    learner = Learner(PolicySpec.of(data, CONFIG.model), CONFIG)
    state, losses = learnt(learner, data)
    assert losses[-1] < 0.7 * losses[0]

    checkpointer = Checkpointer(tmp_path, learner.spec, keep=1)
    checkpointer.save(state)
    checkpointer.wait()
    policy = load_policy(tmp_path, deterministic=True)
    make = partial(Toy, OBSERVATIONS[observation], ACTIONS[action])
    envs = SyncVectorEnv([make] * 8, autoreset_mode=AutoresetMode.DISABLED)
    rollouts = run_episodes(policy, envs, np.full(16, float(NUM_STEPS)), np.arange(16))
    assert (rollouts.lengths == NUM_STEPS).all()
    # By chance a half, give or take a sixteenth, and less of larger categories.
    assert rollouts.returns.mean() > 0.65 * NUM_STEPS


def learnt(learner: Learner, data: TrainingData) -> tuple[TrainState, np.ndarray]:
    """Twenty updates on one batch, and the loss of each: all in one program."""
    length, rows = learner.num_steps_of_window, range(CONFIG.data.num_segments)
    windows = draw_windows(data.offsets, length, 0, 0, rows)
    batch = gather(learner.spec.codec.encode(data.rows, data.images), windows, length)

    @jax.jit
    def run(batch: Batch) -> tuple[TrainState, jax.Array]:
        def update(state: TrainState, _: None) -> tuple[TrainState, jax.Array]:
            state, metrics = learner.train_step(state, batch)
            return state, metrics["loss"]

        return jax.lax.scan(update, learner.init(), length=CONFIG.num_steps)

    state, losses = run(jax.tree.map(jnp.asarray, batch))
    return state, np.asarray(losses)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_gymnasium_finds_no_fault_with_the_toy(observation: str, action: str) -> None:
    with warnings.catch_warnings():
        if action in ("box-unbounded", "tuple"):  # it is news to nobody that they are
            warnings.filterwarnings("ignore", message=".*Box action space m.*infinity")
            warnings.filterwarnings("ignore", message=".*a symmetric and normalized space")
        check_env(Toy(OBSERVATIONS[observation], ACTIONS[action]), skip_render_check=True)
