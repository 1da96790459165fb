"""What do all tests share? Four simulated CPU devices, checked shapes, and tiny problems."""

from __future__ import annotations

import os
from pathlib import Path

import jax
import numpy as np
import pytest
from gymnasium import spaces
from jaxtyping import install_import_hook

os.environ["JAX_PLATFORMS"] = "cpu"
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parent.parent / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

# A float annotation takes an int, as PEP 484 says.
BEARTYPE = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"

with install_import_hook("dt", BEARTYPE):
    import dt.aggregate
    import dt.collection
    import dt.comparison
    import dt.training  # noqa: F401 (these import all that is to be checked)
    from dt.config import DataConfig, ModelConfig, OptimizerConfig, TrainConfig
    from dt.data import EpisodeDataset, TrainingData
    from dt.spec import PolicySpec


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


@pytest.fixture
def tiny_dataset() -> EpisodeDataset:
    return make_dataset([7, 2, 11])


@pytest.fixture
def tiny_discrete() -> EpisodeDataset:
    return make_dataset([7, 2, 11], spaces.Discrete(3))


@pytest.fixture
def tiny_config() -> TrainConfig:
    return make_config()


@pytest.fixture
def tiny_spec(tiny_dataset: EpisodeDataset, tiny_config: TrainConfig) -> PolicySpec:
    return PolicySpec.of(TrainingData.of(tiny_dataset), tiny_config.model, max_episode_steps=40)
