"""Columns that float32 would round off are counted from an origin; no other column changes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from tiny import batch_of, make_config, make_dataset

from dt.acting.policy import ReturnConditionedPolicy
from dt.checkpoint.export import export_policy
from dt.data import EpisodeDataset, TrainingData
from dt.data.store.store import open_or_build
from dt.data.transforms import Transforms
from dt.spaces.parts import Parts
from dt.spec.serialize import spec_from_json, spec_to_json
from dt.spec.spec import PolicySpec
from dt.training.step import Learner

CLOCK = 1.7e9
LENGTHS = [9, 11, 14]
BASE = make_dataset(LENGTHS)
TIME = np.arange(sum(LENGTHS), dtype=np.float64)


def with_column(values: np.ndarray, dtype: type = np.float64) -> EpisodeDataset:
    """The tiny data with another last column of observations."""
    columns = np.concatenate([BASE.observations[:, :2].astype(dtype), values[:, None]], axis=1)
    space = spaces.Box(-np.inf, np.inf, (3,), dtype)
    return dataclasses.replace(BASE, observations=columns, observation_space=space)


def encoded(dataset: EpisodeDataset) -> np.ndarray:
    data = TrainingData.of(dataset)
    return PolicySpec.of(data, make_config().model).codec.encode(data.rows).observations.numbers


@pytest.mark.parametrize(
    ("offset", "scale"),
    [(CLOCK, 1.0), (CLOCK + 0.5, 0.25), (-3e12, 1.0), (1.0, 1e-9), (0.0, 1e-9), (1e9, 1e-3)],
)
def test_a_column_s_offset_and_scale_leave_what_the_model_sees(offset: float, scale: float) -> None:
    expected = encoded(with_column(TIME))[:, 2]
    np.testing.assert_allclose(
        encoded(with_column(offset + scale * TIME))[:, 2], expected, atol=2e-3
    )


def test_whole_nanoseconds_of_64_bits_keep_their_digits() -> None:
    space = spaces.Box(0, 2**62, (1,), np.int64)
    start = 1_700_000_000_000_000_000
    times = (start + np.arange(len(TIME)) * 1000)[:, None]
    dataset = dataclasses.replace(BASE, observations=times, observation_space=space)
    rows = TrainingData.of(dataset).rows[:, 0]
    np.testing.assert_array_equal(rows, np.arange(len(TIME)) * 1000)


@pytest.mark.parametrize("constant", [0.0, 0.1, CLOCK + 0.25, 1e-9])
@pytest.mark.parametrize("jitter", [0.0, 1e-16])
def test_a_column_that_does_not_vary_is_zero(constant: float, jitter: float) -> None:
    noise = np.random.default_rng(0).normal(size=len(TIME)) * jitter * max(1.0, constant)
    np.testing.assert_allclose(encoded(with_column(constant + noise))[:, 2], 0.0, atol=1e-6)


def test_ordinary_columns_keep_every_bit() -> None:
    rng = np.random.default_rng(0)
    degrees = rng.uniform(0.0, 360.0, len(TIME))
    for values in (degrees, degrees + 1000.0, rng.normal(size=len(TIME)), np.full(len(TIME), 0.1)):
        dataset = with_column(values)
        data = TrainingData.of(dataset)
        assert not data.origins.any()
        np.testing.assert_array_equal(data.rows[:, 2], values.astype(np.float32))
        assert "origin" not in json.dumps(spec_to_json(PolicySpec.of(data, make_config().model)))
    rounded = with_column((CLOCK + 128 * TIME).astype(np.float32), np.float32)
    assert not TrainingData.of(rounded).origins.any()  # float32 has lost what it has lost
    assert encoded(rounded)[:, 2].std() == pytest.approx(1.0, rel=1e-2)


def test_pictures_of_floats_keep_a_faint_pattern() -> None:
    rng = np.random.default_rng(0)
    faint = rng.normal(size=(len(TIME), 6, 6))
    space = spaces.Box(-np.inf, np.inf, (6, 6), np.float64)
    seen = [
        encoded(dataclasses.replace(BASE, observations=picture, observation_space=space))
        for picture in (faint, 0.5 + 1e-6 * faint, 1e-8 * faint)
    ]
    np.testing.assert_allclose(seen[1], seen[0], atol=2e-3)
    np.testing.assert_allclose(seen[2], seen[0], atol=2e-3)


def trained(dataset: EpisodeDataset) -> tuple[float, ReturnConditionedPolicy]:
    """The last of some updates' losses, and the policy after them."""
    config = make_config(num_layers=1)
    learner = Learner(PolicySpec.of(TrainingData.of(dataset), config.model), config)
    state, loss, update = learner.init(), float("nan"), jax.jit(learner.train_step)
    for step in range(30):
        state, metrics = update(state, batch_of(learner, dataset, step))
        loss = float(metrics["loss"])
    return loss, ReturnConditionedPolicy(state.params, learner.spec)


def test_training_and_acting_are_those_of_the_column_without_its_offset() -> None:
    plain, clock = with_column(TIME), with_column(CLOCK + TIME)
    (loss, policy), (other_loss, other) = trained(plain), trained(clock)
    assert other_loss == pytest.approx(loss, rel=1e-3)
    kept = spec_from_json(json.loads(json.dumps(spec_to_json(other.spec))))
    loaded = ReturnConditionedPolicy(other.params, kept)
    for each in (policy, other, loaded):
        each.reset([2.0], seeds=[0])
    for t in range(4):
        row, later = plain.observations[t : t + 1], clock.observations[t : t + 1]
        expected = policy.act(row)
        np.testing.assert_allclose(other.act(later), expected, atol=1e-5)
        np.testing.assert_allclose(loaded.act(later), expected, atol=1e-5)
        for each in (policy, other, loaded):
            each.observe([0.0])


def test_actions_come_back_with_their_offset() -> None:
    actions = np.stack([CLOCK + TIME, TIME], axis=1)
    space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    data = TrainingData.of(dataclasses.replace(BASE, actions=actions, action_space=space))
    codec = PolicySpec.of(data, make_config().model).codec
    steps = codec.encode(data.rows)
    np.testing.assert_allclose(steps.actions.numbers[:, 0], steps.actions.numbers[:, 1], atol=1e-5)
    np.testing.assert_allclose(codec.decode_action(steps.actions), actions, rtol=0, atol=1e-3)
    np.testing.assert_allclose(
        codec.encode_action(actions).numbers, steps.actions.numbers, atol=1e-6
    )


def test_a_store_keeps_the_origins(tmp_path: Path) -> None:
    made = TrainingData.of(with_column(CLOCK + TIME))
    opened = open_or_build(tmp_path / "s", lambda: with_column(CLOCK + TIME), Transforms())
    np.testing.assert_array_equal(opened.origins, made.origins)
    np.testing.assert_array_equal(opened.rows, made.rows)
    assert made.origins.tolist() == [0, 0, CLOCK, 0, 0, 0]


def test_weights_of_another_run_see_the_same_from_another_origin() -> None:
    config, later = make_config(), with_column(CLOCK + 1e6 + TIME)
    source = PolicySpec.of(TrainingData.of(with_column(CLOCK + TIME)), config.model)
    data = TrainingData.of(later)
    own = PolicySpec.of(data, config.model)
    spec = dataclasses.replace(
        own,
        observation_normalizer=source.observation_normalizer.counted_from(
            own.observation_normalizer.origin
        ),
    )
    expected = source.codec.encode_observation(later.observations).numbers
    for seen in (
        spec.codec.encode(data.rows).observations.numbers,
        spec.codec.encode_observation(later.observations).numbers,
    ):
        np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-5)


def test_numbers_that_are_not_to_be_normalised_are_seen_as_they_are() -> None:
    data = TrainingData.of(with_column(CLOCK + TIME), Transforms(normalize_observations=False))
    seen = PolicySpec.of(data, make_config().model).codec.encode(data.rows).observations.numbers
    np.testing.assert_allclose(seen[:, 2], CLOCK + TIME, rtol=1e-6)


def test_jax_s_numbers_are_counted_from_the_same_origin() -> None:
    parts = Parts.of(spaces.Box(-np.inf, np.inf, (2,), np.float64))
    values = np.stack([1e6 + TIME, TIME], axis=1)
    origin = np.array([1e6 + 0.25, 0.0])
    expected = parts.number_columns(values, origin)
    columns = jax.jit(lambda values: parts.number_columns(values, origin))
    np.testing.assert_allclose(columns(values.astype(np.float32)), expected, atol=1e-6)
    whole = jnp.asarray(values, jnp.int32)
    np.testing.assert_allclose(columns(whole), expected, atol=1e-6)


@pytest.mark.slow
def test_an_exported_program_is_given_numbers_less_their_origin(tmp_path: Path) -> None:
    config, clock = make_config(num_layers=1), with_column(CLOCK + TIME)
    spec = PolicySpec.of(TrainingData.of(clock), config.model)
    policy = ReturnConditionedPolicy(Learner(spec, config).init().params, spec)
    (path,) = export_policy(policy, tmp_path / "policy.npz", platforms=("cpu",))
    file = np.load(path)
    step = jax.jit(jax.export.deserialize(bytearray(file["program"])).call)
    state = [file[f"state_{i}"] for i in range(file["num_state"])]
    zeros, targets, seeds = (np.full(1, x, d) for x, d in ((0, "f4"), (2, "f4"), (0, "u4")))
    policy.reset([2.0], seeds=[0])
    for t in range(2):
        seen = (clock.observations[t : t + 1] - file["origin_0"]).astype(np.float32)
        begins, asks = np.array([t == 0]), np.array([False])
        acted, state = step(state, seen, zeros, begins, asks, targets, seeds)
        expected = policy.act(clock.observations[t : t + 1])
        np.testing.assert_allclose(acted, expected, atol=1e-5)
        policy.observe([0.0])
