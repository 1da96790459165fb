"""Do units survive the way to the model and back, and to JSON and back?"""

from __future__ import annotations

import dataclasses
import json

import jax
import numpy as np
import pytest
from gymnasium import spaces
from tiny import make_config, make_dataset
from toy import toy_dataset

from dt.data import EpisodeDataset, Reference, TrainingData
from dt.data.batches.windows import Action
from dt.spec.serialize import spec_from_json, spec_to_json
from dt.spec.spec import PolicySpec


def test_bounded_actions_go_to_the_unit_box_and_back(
    tiny_dataset: EpisodeDataset, tiny_spec: PolicySpec
) -> None:
    encoded = tiny_spec.codec.encode(TrainingData.of(tiny_dataset).rows).actions
    np.testing.assert_allclose(encoded.numbers, tiny_dataset.actions / 2.0, rtol=1e-6)
    np.testing.assert_allclose(
        tiny_spec.codec.decode_action(encoded), tiny_dataset.actions, rtol=1e-6
    )
    far = Action(np.full((1, 2), 5.0), np.zeros((1, 0), np.int32))
    assert tiny_spec.action_space.contains(tiny_spec.codec.decode_action(far)[0])


def test_unbounded_actions_are_standardised() -> None:
    dataset = make_dataset([30], spaces.Box(-np.inf, np.inf, (2,), np.float32))
    spec = PolicySpec.of(TrainingData.of(dataset), make_config().model)
    encoded = spec.codec.encode(TrainingData.of(dataset).rows).actions
    np.testing.assert_allclose(encoded.numbers.std(axis=0), 1.0, rtol=1e-3)
    np.testing.assert_allclose(spec.codec.decode_action(encoded), dataset.actions, atol=1e-5)


def test_discrete_actions_count_from_their_start() -> None:
    dataset = make_dataset([30], spaces.Discrete(3, start=5))
    spec = PolicySpec.of(TrainingData.of(dataset), make_config().model)
    encoded = spec.codec.encode(TrainingData.of(dataset).rows).actions
    assert encoded.categories.min() == 0 and encoded.categories.max() == 2
    assert spec.action_counts == (3,) and spec.action_dim == 0
    np.testing.assert_array_equal(spec.codec.decode_action(encoded), dataset.actions)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=5),
        spaces.Box(-2.0, 2.0, (2,), np.float32),
        spaces.Box(np.array([-1.0, 0.0]), np.array([3.0, 4.0]), dtype=np.float64),
        spaces.Box(0, 9, (2, 1), np.int64),
        spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[0, 1], [-2, 0]]),
        spaces.MultiBinary((2, 2)),
    ],
)
def test_jax_s_arrays_get_the_units_that_numpy_s_get(space: spaces.Space) -> None:
    rng = np.random.default_rng(0)
    dataset = dataclasses.replace(
        make_dataset([9]),
        actions=np.stack([space.sample() for _ in range(9)]),
        action_space=space,
    )
    spec = PolicySpec.of(TrainingData.of(dataset), make_config().model)
    counts = np.array(spec.action_counts, int)
    actions = Action(
        rng.normal(size=(20, spec.action_dim)).astype(np.float32),
        rng.integers(0, counts, (20, len(counts))).astype(np.int32),
    )
    observations = rng.normal(size=(20, 3))
    codec = spec.codec
    for method, values in (
        (codec.decode_action, actions),
        (codec.encode_observation, observations),
    ):
        computed = zip(
            jax.tree.leaves(method(values)), jax.tree.leaves(jax.jit(method)(values)), strict=True
        )
        for expected, actual in computed:
            assert actual.dtype.kind == expected.dtype.kind and actual.shape == expected.shape
            np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert all(space.contains(action) for action in spec.codec.decode_action(actions))


def test_observations_and_returns_are_normalised(
    tiny_dataset: EpisodeDataset, tiny_spec: PolicySpec
) -> None:
    steps = tiny_spec.codec.encode(TrainingData.of(tiny_dataset).rows)
    np.testing.assert_allclose(steps.observations.numbers.mean(axis=0), 0.0, atol=1e-5)
    assert steps.returns_to_go.std() == pytest.approx(1.0, rel=1e-4)
    assert tiny_spec.return_range[1] == pytest.approx(tiny_dataset.returns.max(), rel=1e-5)


def test_positions_reach_the_longer_of_data_and_environment(tiny_dataset: EpisodeDataset) -> None:
    model = make_config().model
    assert PolicySpec.of(TrainingData.of(tiny_dataset), model).max_timesteps == 11
    assert (
        PolicySpec.of(TrainingData.of(tiny_dataset), model, max_episode_steps=40).max_timesteps
        == 40
    )
    with pytest.raises(ValueError, match="max_timesteps is 5.*up to 11 steps"):
        PolicySpec.of(TrainingData.of(tiny_dataset), dataclasses.replace(model, max_timesteps=5))


def test_json_keeps_everything(tiny_dataset: EpisodeDataset) -> None:
    spec = PolicySpec.of(
        TrainingData.of(tiny_dataset), make_config().model, reference=Reference("x", 0.0, 2.0)
    )
    text = json.dumps(spec_to_json(spec))
    back = spec_from_json(json.loads(text))
    assert json.dumps(spec_to_json(back)) == text
    assert back.observation_space == spec.observation_space and back.reference == spec.reference
    a, b = (
        spec.codec.encode(TrainingData.of(tiny_dataset).rows),
        back.codec.encode(TrainingData.of(tiny_dataset).rows),
    )
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_other_formats_and_spaces_are_refused(
    tiny_spec: PolicySpec, tiny_dataset: EpisodeDataset
) -> None:
    with pytest.raises(ValueError, match="format 99"):
        spec_from_json({**spec_to_json(tiny_spec), "format": 99})
    earlier = {**spec_to_json(tiny_spec), "format": 2}
    with pytest.raises(ValueError, match="format 2"):
        spec_from_json(earlier)
    model = dataclasses.asdict(dataclasses.replace(tiny_spec.model, num_heads=1))
    assert spec_from_json({**earlier, "model": model}).model.num_heads == 1
    with pytest.raises(ValueError, match=r"Text.* at word: is none of Box"):
        dataclasses.replace(tiny_spec, observation_space=spaces.Dict(word=spaces.Text(3)))
    with pytest.raises(ValueError, match=r"category of more than 16,777,216 values"):
        dataclasses.replace(tiny_spec, action_space=spaces.Discrete(2**24 + 1))


def test_what_is_no_action_is_not_decoded_to_one() -> None:
    """Types of whole numbers have no NaN: cast, it would be a number of the space."""
    whole, choice = spaces.Box(-5, 5, (1,), np.int64), spaces.Discrete(3, start=-1)
    space = spaces.Dict(whole=whole, choice=choice)
    codec = PolicySpec.of(
        TrainingData.of(toy_dataset(spaces.Box(-1, 1, (2,), np.float32), space)),
        make_config().model,
        max_episode_steps=40,
    ).codec
    sound = codec.decode_action(Action(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.int32)))
    assert whole.contains(sound["whole"][0]) and choice.contains(sound["choice"][0])
    none = codec.decode_action(
        Action(np.full((1, 1), np.nan, np.float32), np.full((1, 1), -1, np.int32))
    )
    assert np.isnan(none["whole"]).all() and none["choice"].tolist() == [-2]
