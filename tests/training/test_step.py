"""A step learns what the data says, whatever the padding, the split and the devices."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces
from tiny import batch_of, make_config, make_dataset

from dt.checkpoint.state import TrainState
from dt.config import TrainConfig
from dt.data import EpisodeDataset, TrainingData, Windows, draw_windows, gather
from dt.parallel.mesh import along_rows, make_mesh, place, replicated, usable_devices
from dt.spec.spec import PolicySpec
from dt.training.loss import loss_and_gradient
from dt.training.program import make_train_steps
from dt.training.step import Learner


def make_learner(dataset: EpisodeDataset, config: TrainConfig) -> Learner:
    return Learner(PolicySpec.of(TrainingData.of(dataset), config.model), config)


@pytest.mark.slow
@pytest.mark.parametrize("discrete", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_one_batch_can_be_learnt_by_heart(discrete: bool) -> None:
    dataset = make_dataset([6, 6], spaces.Discrete(3) if discrete else None)
    config = make_config(dropout=0.0, return_dropout=0.0, width=32)
    config = dataclasses.replace(config, num_steps=300)
    learner = make_learner(dataset, config)
    batch, state = batch_of(learner, dataset), learner.init()
    step = jax.jit(learner.train_step)
    first = None
    for _ in range(150):
        state, metrics = step(state, batch)
        first = first or float(metrics["loss"])
    assert float(metrics["loss"]) < 0.1 * first


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "hears"), [(0.0, True), (1.0 - 1e-6, False)])
def test_rows_learn_without_their_return_as_often_as_asked(
    tiny_dataset: EpisodeDataset, rate: float, hears: bool
) -> None:
    """What the unconditional policy (`--baseline null`) is made of."""
    learner = make_learner(tiny_dataset, make_config(dropout=0.0, return_dropout=rate))
    batch = batch_of(learner, tiny_dataset)
    more = batch._replace(returns_to_go=batch.returns_to_go + 1.0)
    state, loss = learner.init(), jax.jit(lambda *args: learner.train_step(*args)[1]["loss"])
    losses = [float(loss(state, each)) for each in (batch, more)]
    assert (losses[0] != losses[1]) == hears


@pytest.mark.slow
def test_padding_weighs_nothing_in_the_loss() -> None:
    """The mean is over real steps: a short window's steps count like a long one's."""
    dataset = make_dataset([1, 6])
    learner = make_learner(dataset, make_config(dropout=0.0, return_dropout=0.0))
    params, length = learner.init().params, learner.num_steps_of_window
    steps = learner.spec.codec.encode(TrainingData.of(dataset).rows)

    def loss_of(rows: list[int]) -> tuple[float, int]:
        starts = np.array([[0, 1, 0], [1, 6, 0]])[rows]
        batch = jax.tree.map(jnp.asarray, gather(steps, Windows(*starts.T), length))
        is_null, key = jnp.zeros(len(rows), bool), jax.random.key(0)
        count = batch.mask.sum()
        return float(jax.jit(learner.loss)(params, batch, is_null, key, count)[0]), int(count)

    (short, n_short), (long, n_long), (both, _) = loss_of([0]), loss_of([1]), loss_of([0, 1])
    assert (n_short, n_long) == (1, 6)
    assert both == pytest.approx((short * n_short + long * n_long) / 7, rel=1e-5)


@pytest.mark.slow
def test_micro_batches_sum_to_the_batch(tiny_dataset: EpisodeDataset) -> None:
    config = make_config(dropout=0.0, return_dropout=0.0)
    split = dataclasses.replace(config, data=dataclasses.replace(config.data, num_micro_batches=4))
    results = []
    for each in (config, split):
        learner = make_learner(tiny_dataset, each)
        batch = batch_of(learner, tiny_dataset)
        args = (learner.init().params, batch, jnp.zeros(4, bool), jax.random.key(0))
        num_parts = each.data.num_micro_batches
        of_batch = partial(loss_and_gradient, learner.loss, num_micro_batches=num_parts)
        results.append(jax.jit(of_batch)(*args))
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def run_round(learner: Learner, dataset: EpisodeDataset, devices: int, updates: int) -> TrainState:
    mesh = make_mesh(jax.devices()[:devices])
    state = place(learner.init(), replicated(mesh))
    steps = place(learner.spec.codec.encode(TrainingData.of(dataset).rows), replicated(mesh))
    rows = range(learner.config.data.num_segments)
    draws = [
        draw_windows(dataset.offsets, learner.num_steps_of_window, 0, i, rows) for i in range(4)
    ]
    windows = jax.tree.map(lambda *fields: np.stack(fields), *draws)
    windows = place(windows, along_rows(mesh, axis=1))
    train_steps = make_train_steps(learner)
    for _ in range(2):  # the second call, with another number of updates, compiles nothing new
        state, _ = train_steps(state, steps, windows, np.int32(updates))
        updates = 4 - updates
    assert train_steps._cache_size() == 1  # type: ignore[attr-defined]
    return state


@pytest.mark.slow
def test_four_devices_train_as_one(tiny_dataset: EpisodeDataset, tiny_config: TrainConfig) -> None:
    learner = make_learner(tiny_dataset, tiny_config)
    one, four = (run_round(learner, tiny_dataset, n, 3) for n in (1, 4))
    assert int(one.step) == int(four.step) == 4
    # Predictions, not weights: keys' biases have no gradient, and Adam blows up what is rounding.
    predict = jax.jit(lambda params, batch: nnx.merge(learner.graph, params)(batch))
    batch = batch_of(learner, tiny_dataset)
    a, b = (predict(jax.device_get(state.params), batch) for state in (one, four))
    np.testing.assert_allclose(a.numbers, b.numbers, atol=1e-4)


@pytest.mark.slow
def test_each_step_has_its_own_randomness(
    tiny_dataset: EpisodeDataset, tiny_config: TrainConfig
) -> None:
    learner = make_learner(tiny_dataset, tiny_config)
    batch, state = batch_of(learner, tiny_dataset), learner.init()
    loss = jax.jit(lambda *args: learner.train_step(*args)[1]["loss"])
    losses = [float(loss(state._replace(step=jnp.int32(i)), batch)) for i in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_devices_divide_the_rows() -> None:
    assert [len(usable_devices(rows)) for rows in (8, 6, 3, 1)] == [4, 3, 3, 1]
