"""The tiny problem that most tests share: few shapes, so that few programs are compiled."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from dt.config import DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from dt.data import Batch, EpisodeDataset, TrainingData, draw_windows, gather
from dt.training.step import Learner


def make_dataset(
    lengths: list[int], action_space: spaces.Space | None = None, seed: int = 0
) -> EpisodeDataset:
    """Random episodes of three observations; two continuous actions unless told otherwise."""
    rng = np.random.default_rng(seed)
    count = sum(lengths)
    action_space = action_space or spaces.Box(-2.0, 2.0, (2,), np.float32)
    if isinstance(action_space, spaces.Discrete):
        actions = rng.integers(0, action_space.n, count) + action_space.start
    else:
        actions = rng.uniform(-2, 2, (count, 2)).astype(np.float32)
    ends = np.zeros(count, bool)
    ends[np.cumsum(lengths) - 1] = True
    return EpisodeDataset(
        name="tiny",
        observations=rng.normal(3.0, 2.0, (count, 3)).astype(np.float32),
        actions=actions,
        rewards=rng.uniform(0, 1, count).astype(np.float32),
        terminations=ends,
        truncations=np.zeros(count, bool),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        observation_space=spaces.Box(-np.inf, np.inf, (3,), np.float32),
        action_space=action_space,
    )


def make_config(**model: object) -> TrainConfig:
    """A model of two layers and width 8 that compiles in a second or two."""
    return TrainConfig(
        data=DataConfig(source="tiny", batch_size=8, windows_per_segment=2),
        model=ModelConfig(
            **{"context_length": 3, "num_layers": 2, "num_heads": 2, "width": 8, **model}  # type: ignore[arg-type]
        ),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=2),
        num_steps=6,
        log_interval=2,
        checkpoint_interval=2,
    )


def batch_of(learner: Learner, dataset: EpisodeDataset, step: int = 0) -> Batch:
    length, rows = learner.num_steps_of_window, range(learner.config.data.num_segments)
    windows = draw_windows(dataset.offsets, length, learner.config.seed, step, rows)
    return jax.tree.map(
        jnp.asarray,
        gather(learner.spec.codec.encode(TrainingData.of(dataset).rows), windows, length),
    )
