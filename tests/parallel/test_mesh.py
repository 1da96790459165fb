"""Is what is learnt the same however devices divide the work, and does a mesh say what is amiss?"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from tiny import make_config, make_dataset

from dt.config import MeshConfig, TrainConfig, from_json, to_json
from dt.data import Batch, TrainingData, Windows, gather
from dt.model.decision_transformer import abstract_model
from dt.model.parameter_names import DIVIDED, divided_names
from dt.parallel.mesh import make_mesh, place, replicated, shardings, usable_devices
from dt.spec.spec import PolicySpec
from dt.training.step import Learner

HERE = Path(__file__).parent


@pytest.mark.slow
def test_eight_devices_train_as_one_whatever_divides_them(tmp_path: Path) -> None:
    out = tmp_path / "found.npz"
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    words = [sys.executable, str(HERE / "on_eight_devices.py"), str(out)]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    found = dict(np.load(out))
    one = {key: value for key, value in found.items() if key.startswith("one/")}
    assert len(found) == 3 * len(one)
    for key, expected in one.items():
        for mesh in ("data", "all three"):
            actual = found[key.replace("one/", f"{mesh}/", 1)]
            pair = actual, expected
            if "qkv" in key and "bias" in key:  # keys' biases have no gradient, and Adam blows up
                pair = tuple(x.reshape(8, 3, 2)[:, [0, 2]] for x in pair)  # what is rounding
            np.testing.assert_allclose(*pair, atol=1e-5, rtol=1e-5, err_msg=f"{mesh}: {key}")


def test_pairs_of_matrices_are_divided_over_model_and_all_over_fsdp(
    tiny_spec: PolicySpec, tiny_config: TrainConfig
) -> None:
    mesh = make_mesh(jax.devices(), MeshConfig(fsdp=2, model=2))
    state = jax.eval_shape(Learner(tiny_spec, tiny_config).init)
    placed = {
        jax.tree_util.keystr(path): (leaf.shape, tuple(sharding.spec))
        for (path, leaf), sharding in zip(
            jax.tree.leaves_with_path(state),
            jax.tree.leaves(shardings(state, mesh, DIVIDED)),
            strict=True,
        )
    }

    def of(*words: str) -> set[tuple[tuple[int, ...], tuple[str | None, ...]]]:
        """Shapes and places of parameters and of Adam's two moments of them."""
        named = {k: v for k, v in placed.items() if all(f"'{word}'" in k for word in words)}
        assert len(named) >= 3
        return set(named.values())

    assert of("blocks", "qkv", "kernel") == {((8, 24), ("fsdp", "model"))}
    assert of("blocks", "out", "kernel") == {((8, 8), ("model", "fsdp"))}
    assert of("blocks", "expand", "kernel") == {((8, 32), ("fsdp", "model"))}
    assert of("blocks", "expand", "bias") == {((32,), ("model",))}
    assert of("blocks", "contract", "kernel") == {((32, 8), ("model", "fsdp"))}
    assert of("blocks", "contract", "bias") == {((8,), (None,))}
    # Three observations do not divide by two, their vectors' width does.
    assert of("embed", "observation", "waves", "kernel") == {((3, 8), (None, "fsdp"))}


def test_a_divided_name_that_no_parameter_has_is_refused(
    tiny_spec: PolicySpec, tiny_config: TrainConfig
) -> None:
    state = jax.eval_shape(Learner(tiny_spec, tiny_config).init)
    renamed = {**DIVIDED, ("blocks", "widen", "kernel"): 1}
    with pytest.raises(ValueError, match="no parameter is named blocks/widen/kernel"):
        shardings(state, make_mesh(), renamed)


def test_blocks_without_attention_have_none_of_its_names() -> None:
    """RvS: one token a window, which has nobody to attend to."""
    config = make_config(layout="return+observation", context_length=1)
    spec = PolicySpec.of(TrainingData.of(make_dataset([7, 9])), config.model)
    assert not abstract_model(spec).transformer.attends
    state = jax.eval_shape(Learner(spec, config).init)
    shardings(state, make_mesh(), divided_names(attends=False))
    with pytest.raises(ValueError, match="no parameter is named blocks/qkv/kernel"):
        shardings(state, make_mesh(), divided_names(attends=True))


@pytest.mark.slow
def test_attention_is_divided_by_heads() -> None:
    """What passes from queries, keys and values on is never all on one device."""
    config = make_config(num_heads=4, width=32, dropout=0.0)
    config = dataclasses.replace(config, mesh=MeshConfig(model=2))
    data = TrainingData.of(make_dataset([7, 9]))
    learner = Learner(PolicySpec.of(data, config.model), config)
    mesh = make_mesh(jax.devices()[:2], config.mesh)
    params = learner.init().params
    params = place(params, shardings(params, mesh, DIVIDED))
    batch = gather(learner.spec.codec.encode(data.rows), Windows(*np.zeros((3, 4), int)), 3)
    batch = place(batch._replace(mask=None), replicated(mesh))

    def forward(params: Any, batch: Batch) -> Any:
        return nnx.merge(learner.graph, params)(batch).numbers

    program = jax.jit(forward).lower(params, batch).compile().as_text()
    assert "all-reduce" in program  # the second matrix of each pair adds up
    assert not re.search(r"f32\[4,9,96\]\S* all-gather", program)


@pytest.mark.parametrize(
    ("axes", "rows", "shape"),
    [
        (MeshConfig(), 8, (4, 1, 1)),
        (MeshConfig(), 6, (3, 1, 1)),
        (MeshConfig(data=2), 8, (2, 1, 1)),
        (MeshConfig(fsdp=2), 8, (2, 2, 1)),
        (MeshConfig(fsdp=2), 6, (1, 2, 1)),
        (MeshConfig(model=4), 1, (1, 1, 4)),
        (MeshConfig(fsdp=2, model=2), 2, (1, 2, 2)),
    ],
)
def test_what_is_left_of_the_devices_divides_the_batch(
    axes: MeshConfig, rows: int, shape: tuple[int, int, int]
) -> None:
    mesh = make_mesh(usable_devices(rows, axes), axes)
    assert tuple(mesh.shape.values()) == shape


@pytest.mark.parametrize(
    ("axes", "rows"),
    [
        (MeshConfig(data=8), 8),  # four devices
        (MeshConfig(data=3), 8),  # eight rows
        (MeshConfig(fsdp=3), 8),
        (MeshConfig(model=5), 8),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(axes: MeshConfig, rows: int) -> None:
    said = f"mesh.fsdp {axes.fsdp} x mesh.model {axes.model}: there are 4 devices, and the {rows}"
    with pytest.raises(ValueError, match=re.escape(said)):
        usable_devices(rows, axes)


def test_devices_that_the_axes_do_not_multiply_to_are_named() -> None:
    with pytest.raises(ValueError, match="do not divide 3 devices"):
        make_mesh(jax.devices()[:3], MeshConfig(fsdp=2))


def test_a_run_from_before_there_were_meshes_has_the_usual_one() -> None:
    values = to_json(TrainConfig())
    del values["mesh"]
    assert from_json(values).mesh == MeshConfig(data=0, fsdp=1, model=1)
