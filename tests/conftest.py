"""What do all tests share? Four simulated CPU devices, checked shapes, and tiny problems."""

from __future__ import annotations

import os
from pathlib import Path

import jax
import pytest
from gymnasium import spaces
from jaxtyping import install_import_hook

# Tests' programs are many and run for milliseconds: what they cost is compilation, so each is
# compiled in haste and kept for the other processes. Those that tests start inherit all of this.
# JAX_DISABLE_MOST_OPTIMIZATIONS=0 compiles as users do.
SETTINGS = {
    "jax_platforms": "cpu",
    "jax_compilation_cache_dir": str(Path(__file__).parent.parent / ".jax_cache"),
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_disable_most_optimizations": os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") != "0",
}
for name, value in SETTINGS.items():
    jax.config.update(name, value)
    os.environ[name.upper()] = str(value)
jax.config.update("jax_num_cpu_devices", 4)

# A float annotation takes an int, as PEP 484 says.
BEARTYPE = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"

with install_import_hook("dt", BEARTYPE):
    from tiny import make_config, make_dataset

    import dt.collect.gather
    import dt.collect.publish
    import dt.evaluation.aggregate
    import dt.evaluation.comparison
    import dt.evaluation.score_run  # noqa: F401 (these import all that is to be checked)
    from dt.config import TrainConfig
    from dt.data import EpisodeDataset, TrainingData
    from dt.spec.spec import PolicySpec


@pytest.fixture
def tiny_dataset() -> EpisodeDataset:
    return make_dataset([7, 2, 11])


@pytest.fixture
def tiny_discrete() -> EpisodeDataset:
    return make_dataset([7, 2, 11], spaces.Discrete(3))


@pytest.fixture
def tiny_config() -> TrainConfig:
    """Of one layer: how a run is cut, saved or divided does not depend on how deep its model is."""
    return make_config(num_layers=1)


@pytest.fixture
def tiny_spec(tiny_dataset: EpisodeDataset, tiny_config: TrainConfig) -> PolicySpec:
    return PolicySpec.of(TrainingData.of(tiny_dataset), tiny_config.model, max_episode_steps=40)
