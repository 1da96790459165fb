"""Train a tiny model on meshes of eight simulated devices, for test_sharding.py, which compares.

XLA_FLAGS=--xla_force_host_platform_device_count=8 python tests/parallel/on_eight_devices.py OUT.npz
"""

from __future__ import annotations

import dataclasses
import sys

import jax
import numpy as np
from gymnasium import spaces

from dt.config import DataConfig, MeshConfig, ModelConfig, OptimizerConfig, TrainConfig
from dt.data import EpisodeDataset, TrainingData, draw_windows
from dt.model.parameter_names import DIVIDED
from dt.parallel.mesh import along_rows, make_mesh, place, replicated, shardings, usable_devices
from dt.spec.spec import PolicySpec
from dt.training.program import make_train_steps
from dt.training.step import Learner

UPDATES = 3
MESHES = {
    "one": MeshConfig(data=1),
    "data": MeshConfig(),
    "all three": MeshConfig(fsdp=2, model=2),
}


def main() -> None:
    config = TrainConfig(
        data=DataConfig(source="tiny", batch_size=48, windows_per_segment=3, num_micro_batches=2),
        model=ModelConfig(context_length=2, num_layers=3, num_heads=8, width=16, scan_layers=True),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=2),
        num_steps=UPDATES,
    )
    rng = np.random.default_rng(0)
    data = TrainingData.of(
        EpisodeDataset(
            name="tiny",
            observations=rng.normal(size=(40, 3)).astype(np.float32),
            actions=rng.uniform(-2, 2, (40, 2)).astype(np.float32),
            rewards=rng.uniform(0, 1, 40).astype(np.float32),
            terminations=np.isin(np.arange(40), [3, 24, 39]),
            truncations=np.zeros(40, bool),
            offsets=np.array([0, 4, 25, 40]),
            observation_space=spaces.Box(-np.inf, np.inf, (3,), np.float32),
            action_space=spaces.Box(-2.0, 2.0, (2,), np.float32),
        )
    )
    spec = PolicySpec.of(data, config.model)
    rows = range(config.data.num_segments)
    found: dict[str, np.ndarray] = {}
    for name, axes in MESHES.items():
        learner = Learner(spec, dataclasses.replace(config, mesh=axes))
        devices = usable_devices(len(rows) // config.data.num_micro_batches, axes)
        mesh = make_mesh(devices, axes)
        assert len(devices) == (1 if name == "one" else 8)
        state = learner.init()
        state_shardings = shardings(state, mesh, DIVIDED)
        state = place(state, state_shardings)
        steps = place(spec.codec.encode(data.rows), replicated(mesh))
        train_steps = make_train_steps(learner, state_shardings)
        for step in range(UPDATES):
            draw = draw_windows(data.offsets, learner.num_steps_of_window, 0, step, rows)
            windows = place(jax.tree.map(lambda field: field[None], draw), along_rows(mesh, axis=1))
            state, metrics = train_steps(state, steps, windows, np.int32(1))
            found[f"{name}/loss/{step}"] = np.asarray(metrics.means["loss"])
        assert train_steps._cache_size() == 1, "each update compiled anew"
        for leaf, sharding in zip(*map(jax.tree.leaves, (state, state_shardings)), strict=True):
            assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim), "not where it belongs"
        for path, leaf in jax.tree.leaves_with_path(state.params):
            found[f"{name}/params/{jax.tree_util.keystr(path)}"] = np.asarray(leaf)
    np.savez(sys.argv[1], **found)


if __name__ == "__main__":
    main()
