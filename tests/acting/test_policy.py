"""Does the policy act as the model was trained: same returns, same positions, same outputs?"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces
from tiny import make_config, make_dataset
from toy import toy_dataset

from dt.acting import batch_axis
from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.data import EpisodeDataset, TrainingData, Windows, gather
from dt.data.batches.windows import Action
from dt.model.decision_transformer import DecisionTransformer
from dt.model.heads.action import Prediction
from dt.spec.spec import PolicySpec

forward = nnx.jit(DecisionTransformer.__call__)


def make_policy(
    dataset: EpisodeDataset, **options: bool
) -> tuple[DecisionTransformer, ReturnConditionedPolicy]:
    spec = PolicySpec.of(TrainingData.of(dataset), make_config().model, max_episode_steps=40)
    model = DecisionTransformer(spec, rngs=nnx.Rngs(3))
    return model, ReturnConditionedPolicy(nnx.state(model), spec, ActingOptions(**options))


def chosen(prediction: Prediction, row: int) -> Action:
    """The numbers of an action that has no categories."""
    numbers = np.asarray(prediction.numbers[row])
    return Action(numbers, np.zeros((len(numbers), 0), np.int32))


def test_acting_along_an_episode_predicts_what_training_saw(tiny_dataset: EpisodeDataset) -> None:
    """act() at step t is the training forward at step t: the same return-to-go, the same position,
    the same actions before it. A return off by one or a shifted position would show."""
    model, policy = make_policy(tiny_dataset)
    episode = tiny_dataset[2]
    windows = Windows(*(np.array([v]) for v in (tiny_dataset.offsets[2], 11, 0)))
    batch = jax.tree.map(
        jnp.asarray,
        gather(policy.spec.codec.encode(TrainingData.of(tiny_dataset).rows), windows, 11),
    )
    trained = policy.spec.codec.decode_action(chosen(forward(model, batch), 0))
    policy.reset([float(tiny_dataset.returns[2])])
    for t in range(11):
        acted = policy.act(episode.observations[t : t + 1])
        np.testing.assert_allclose(acted[0], trained[t], atol=1e-5)
        # What was done is what the log did, not what the policy would have done.
        assert policy._state is not None
        done = policy.spec.codec.encode(TrainingData.of(tiny_dataset).rows).actions
        row = tiny_dataset.offsets[2] + t
        done = jax.tree.map(lambda x, row=row: jnp.asarray(x[row : row + 1]), done)
        policy._state = policy._state._replace(previous_action=done)
        policy.observe(episode.rewards[t : t + 1])


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [True, False])
def test_recomputing_sees_the_last_window_and_nothing_before(
    tiny_dataset: EpisodeDataset, recompute: bool
) -> None:
    """The training forward on a segment of these timesteps alone; a cache hands on what was."""
    model, policy = make_policy(tiny_dataset, recompute=recompute)
    episode, steps = tiny_dataset[2], policy.spec.codec.encode(TrainingData.of(tiny_dataset).rows)
    equal = []
    policy.reset([float(tiny_dataset.returns[2])])
    for t in range(11):
        count = min(t + 1, 3)  # context_length is 3
        begin = t + 1 - count
        windows = Windows(*(np.array([v]) for v in (tiny_dataset.offsets[2] + begin, count, begin)))
        batch = jax.tree.map(jnp.asarray, gather(steps, windows, count))
        wanted = policy.spec.codec.decode_action(chosen(forward(model, batch), 0))[-1:]
        equal.append(np.allclose(policy.act(episode.observations[t : t + 1]), wanted, atol=1e-5))
        policy.observe(episode.rewards[t : t + 1], episode.actions[t : t + 1])
    assert equal == ([True] * 11 if recompute else [True] * 3 + [False] * 8)


def test_a_row_that_starts_again_leaves_the_others_alone(tiny_dataset: EpisodeDataset) -> None:
    """Rewards that the other rows have just earned must still be subtracted."""
    _, policy = make_policy(tiny_dataset)
    observations = np.random.default_rng(0).normal(size=(2, 8, 3)).astype(np.float32)

    def play(restart: bool) -> list[np.ndarray]:
        policy.reset([2.0, 2.0])
        acted = []
        for t in range(8):
            acted.append(policy.act(observations[:, t])[0])
            policy.observe(np.array([0.7, 0.1]))
            if restart and t in (2, 5):
                policy.reset([9.0, 1.5], where=np.array([False, True]))
        return acted

    np.testing.assert_array_equal(play(restart=True), play(restart=False))


def test_a_restarted_row_forgets(tiny_dataset: EpisodeDataset) -> None:
    _, policy = make_policy(tiny_dataset)
    observations = np.random.default_rng(0).normal(size=(1, 6, 3)).astype(np.float32)

    def first_three() -> list[np.ndarray]:
        acted = []
        for t in range(3):
            acted.append(policy.act(observations[:, t]))
            policy.observe(np.array([0.5]))
        return acted

    policy.reset([2.0])
    fresh = first_three()
    policy.act(observations[:, 3])
    policy.observe(np.array([5.0]))
    policy.reset([2.0])
    np.testing.assert_array_equal(first_three(), fresh)


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [True, False])
def test_what_was_not_finite_ends_with_its_episode(
    tiny_dataset: EpisodeDataset, recompute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masked from attention it would still be multiplied, by zero, and stay NaN.

    The host refuses it at once; on the device it runs to the end of a chunk.
    """
    monkeypatch.setattr(batch_axis, "_check_finite", lambda leaf, values: None)
    _, policy = make_policy(tiny_dataset, recompute=recompute)
    fresh = make_policy(tiny_dataset, recompute=recompute)[1]
    good = np.random.default_rng(0).normal(size=(9, 2, 3)).astype(np.float32)
    bad = good.copy()
    bad[1, 1, 2] = np.nan
    policy.reset([1.0, 2.0])
    fresh.reset([1.0, 2.0])
    for t in range(4):
        acted = policy.act(bad[t])
        policy.observe(np.zeros(2))
        assert np.isfinite(fresh.act(good[t])[0]).all()
        fresh.observe(np.zeros(2))
    assert np.isnan(acted[1]).any()  # it is not hidden either
    for each in (policy, fresh):
        each.act(good[4])
        each.observe(np.zeros(2))
        each.reset([1.0, 2.0], where=np.array([False, True]))
    for t in range(5, 9):
        np.testing.assert_array_equal(policy.act(good[t]), fresh.act(good[t]))
        policy.observe(np.zeros(2))
        fresh.observe(np.zeros(2))
    policy.reset([1.0, 2.0])
    assert np.isfinite(policy.act(good[0])).all()


def test_returns_outside_the_data_are_shown_as_its_nearest(tiny_dataset: EpisodeDataset) -> None:
    _, policy = make_policy(tiny_dataset)
    observation = np.zeros((1, 3), np.float32)
    acted = []
    for target in (policy.spec.return_range[1], 1e4, policy.spec.return_range[0]):
        policy.reset([target])
        acted.append(policy.act(observation))
    np.testing.assert_array_equal(acted[0], acted[1])
    assert (acted[0] != acted[2]).any()


def test_the_null_policy_does_not_hear_its_target(tiny_dataset: EpisodeDataset) -> None:
    for null in (True, False):
        _, policy = make_policy(tiny_dataset, null=null)
        policy.reset([0.1, 5.0])
        a, b = policy.act(np.zeros((2, 3), np.float32))
        assert np.array_equal(a, b) == null


@pytest.mark.slow
def test_sampled_actions_follow_the_seed_not_the_row(tiny_discrete: EpisodeDataset) -> None:
    _, policy = make_policy(tiny_discrete)
    observations = np.zeros((64, 3), np.float32)
    policy.reset([1.0] * 64, seeds=np.arange(64))
    one = policy.act(observations)
    policy.reset([1.0] * 64, seeds=np.arange(64)[::-1])
    np.testing.assert_array_equal(policy.act(observations), one[::-1])
    assert len(np.unique(one)) > 1
    _, greedy = make_policy(tiny_discrete, deterministic=True)
    greedy.reset([1.0] * 64)
    assert len(np.unique(greedy.act(observations))) == 1


@pytest.mark.parametrize("loaded", [True, False])
def test_one_program_serves_every_step_and_reset(
    tiny_dataset: EpisodeDataset, loaded: bool
) -> None:
    """Loaded weights are bound to a device, as those that were just made are not."""
    _, policy = make_policy(tiny_dataset)
    if loaded:
        bound = jax.device_put(policy.params, jax.devices()[0])
        policy = ReturnConditionedPolicy(bound, policy.spec)
    policy.reset([1.0, 2.0])
    for t in range(7):
        actions = policy.act(np.zeros((2, 3), np.float32))
        policy.observe(np.zeros(2), actions=actions if t == 2 else None)
        if t == 4:
            policy.reset([1.0, 2.0], where=np.array([True, False]))
    assert policy._step._cache_size() == 1  # type: ignore[attr-defined]


@pytest.mark.slow
def test_actions_lie_in_the_space() -> None:
    space = spaces.Discrete(3, start=2)
    _, policy = make_policy(make_dataset([9, 9], space))
    policy.reset([1.0] * 20)
    assert all(space.contains(action) for action in policy.act(np.zeros((20, 3), np.float32)))


def test_misuse_is_named(tiny_dataset: EpisodeDataset) -> None:
    _, policy = make_policy(tiny_dataset)
    with pytest.raises(ValueError, match=r"act\(\) before reset"):
        policy.act(np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"returns_to_go before reset"):
        policy.returns_to_go  # noqa: B018
    policy.reset([1.0, 2.0])
    with pytest.raises(
        ValueError, match=r"where is bool of shape \(3,\); give one Boolean for each"
    ):
        policy.reset([1.0, 2.0], where=np.array([True, False, True]))
    for seeds in ([1], [-1, 2]):
        with pytest.raises(ValueError, match="one whole number, 0 or more, for each of 2"):
            policy.reset([1.0, 2.0], seeds=seeds)
    with pytest.raises(ValueError, match="finite"):
        policy.reset([float("nan")])
    with pytest.raises(ValueError, match="reset all rows first"):
        policy.reset([1.0, 2.0, 3.0], where=np.array([True, False, True]))
    policy.reset([1.0])
    with pytest.raises(ValueError, match=r"shape \(1, 4\)"):
        policy.act(np.zeros((1, 4)))


def test_a_missing_part_is_named() -> None:
    space = spaces.Dict(arm=spaces.Box(-1, 1, (2,)), mode=spaces.Discrete(3))
    dataset = toy_dataset(space, spaces.Discrete(2))
    _, policy = make_policy(dataset)
    policy.reset([1.0])
    for given in ({"arm": np.zeros((1, 2), np.float32)}, np.zeros((1, 2))):
        with pytest.raises(ValueError, match="observations lack a part of Dict"):
            policy.act(given)


def test_no_position_past_the_longest_known(tiny_dataset: EpisodeDataset) -> None:
    _, policy = make_policy(tiny_dataset)
    policy.reset([1.0])
    for _ in range(40):
        policy.act(np.zeros((1, 3)))
        policy.observe(np.zeros(1))
    with pytest.raises(ValueError, match="timestep 40 is past the longest"):
        policy.act(np.zeros((1, 3)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "recompute"),
    [
        ("default", False),
        ("chen2021", True),
        pytest.param("default", True, marks=pytest.mark.thorough),
        pytest.param("atari-chen2021", True, marks=pytest.mark.thorough),
    ],
)
def test_past_the_end_a_clamped_position_stays_the_last(
    tiny_dataset: EpisodeDataset, recipe: str, recompute: bool
) -> None:
    """As the training forward whose timesteps are cut off there, and nothing else of the past.

    The Atari recipe takes a token's place from its timestep, so its own model has to cut off.
    """
    config = dataclasses.replace(make_config().model, recipe=recipe, return_dropout=0.0)
    whole = PolicySpec.of(TrainingData.of(tiny_dataset), config)
    spec = dataclasses.replace(whole, max_timesteps=6)
    model = DecisionTransformer(spec, rngs=nnx.Rngs(3))
    options = ActingOptions(recompute=recompute, past_end="clamp")
    policy = ReturnConditionedPolicy(nnx.state(model), spec, options)
    model.embed.clamps_timesteps = recipe == "atari-chen2021"
    episode, steps = tiny_dataset[2], spec.codec.encode(TrainingData.of(tiny_dataset).rows)
    policy.reset([float(tiny_dataset.returns[2])])
    for t in range(11):
        acted = policy.act(episode.observations[t : t + 1])
        policy.observe(episode.rewards[t : t + 1], episode.actions[t : t + 1])
    count = 3 if recompute else 11
    begin = 11 - count
    windows = Windows(*(np.array([v]) for v in (tiny_dataset.offsets[2] + begin, count, begin)))
    batch = jax.tree.map(jnp.asarray, gather(steps, windows, count))
    if not model.embed.clamps_timesteps:
        batch = batch._replace(timesteps=jnp.minimum(batch.timesteps, 5))
    wanted = spec.codec.decode_action(chosen(forward(model, batch), 0))[-1:]
    assert np.isfinite(acted).all()  # a table has nothing past its end
    np.testing.assert_allclose(acted, wanted, atol=1e-5)
