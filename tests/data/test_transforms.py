"""Are the numbers that training sees those that the flags promise?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from tiny import make_dataset

from dt.data import TrainingData, Transforms, returns_to_go
from dt.data.transforms import best_episodes, returns

REWARDS = np.array([1.0, 2.0, 4.0, 10.0, 20.0])
OFFSETS = np.array([0, 3, 5])


def test_returns_to_go_by_hand() -> None:
    np.testing.assert_array_equal(returns_to_go(REWARDS, OFFSETS), [7, 6, 4, 30, 20])


def test_discounted_returns_to_go_by_hand() -> None:
    expected = [1 + 0.5 * (2 + 0.5 * 4), 2 + 0.5 * 4, 4, 10 + 0.5 * 20, 20]
    np.testing.assert_allclose(returns_to_go(REWARDS, OFFSETS, 0.5), expected)


def test_a_return_is_the_return_to_go_of_the_first_step() -> None:
    for transforms in (Transforms(), Transforms(discount=0.9, reward_scale=2.0, reward_shift=-1.0)):
        rewards = transforms.rewards(REWARDS)
        whole = returns(REWARDS, OFFSETS, transforms)
        togo = transforms.returns_to_go(rewards, OFFSETS)
        np.testing.assert_allclose(togo[OFFSETS[:-1]], whole, rtol=1e-6)


def test_delayed_reward_leaves_the_whole_return_to_go_until_the_end() -> None:
    togo = Transforms(delay_reward=True).returns_to_go(REWARDS, OFFSETS)
    np.testing.assert_array_equal(togo, [7, 7, 7, 30, 30])
    discounted = Transforms(delay_reward=True, discount=0.5).returns_to_go(REWARDS, OFFSETS)
    np.testing.assert_array_equal(discounted, [7 / 4, 7 / 2, 7, 15, 30])


def test_scale_comes_before_shift() -> None:
    np.testing.assert_array_equal(
        Transforms(reward_scale=2.0, reward_shift=-1.0).rewards(REWARDS), 2 * REWARDS - 1
    )


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_what_is_received_while_playing_is_of_the_arrays_own_type(
    array: Callable[[np.ndarray], Any],
) -> None:
    rewards = array(REWARDS.astype(np.float32))
    received = Transforms(reward_scale=2.0, reward_shift=-1.0).rewards_while_playing(rewards)
    assert type(received) is type(rewards) and received.dtype == np.float32
    np.testing.assert_array_equal(received, 2 * REWARDS - 1)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_a_delayed_reward_is_not_received_before_the_end(
    array: Callable[[np.ndarray], Any],
) -> None:
    rewards = array(REWARDS.astype(np.float32))
    transforms = Transforms(delay_reward=True, reward_shift=3.0)
    received = transforms.rewards_while_playing(rewards)
    assert type(received) is type(rewards) and received.dtype == np.float32
    np.testing.assert_array_equal(received, np.zeros(5))


@pytest.mark.parametrize(("fraction", "kept"), [(0.4, [1, 3]), (0.01, [3]), (1.0, [0, 1, 2, 3, 4])])
def test_the_best_episodes_are_kept_in_the_order_of_the_log(
    fraction: float, kept: list[int]
) -> None:
    assert best_episodes(np.array([1.0, 8.0, 3.0, 9.0, 2.0]), fraction).tolist() == kept


def test_the_top_fraction_trains_on_the_best_alone() -> None:
    dataset = make_dataset([7, 2, 11, 5])
    best = int(np.argmax(dataset.returns))
    data = TrainingData.of(dataset, Transforms(top_fraction=0.25))
    assert len(data) == 1 and data.returns[0] == pytest.approx(dataset.returns[best])
    np.testing.assert_array_equal(data.rows[:, :3], dataset[best].observations)


def test_unit_actions_are_scaled_to_the_space() -> None:
    space = spaces.Box(np.float32([-4, 0]), np.float32([4, 1]))
    scaled = Transforms(unit_actions=True).actions(np.float32([[-1, -1], [0.5, 1]]), space)
    np.testing.assert_allclose(scaled, [[-4, 0], [2, 1]])


def test_unit_actions_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="unit-actions.*size 3"):
        Transforms(unit_actions=True).actions(np.float32([[3.0]]), spaces.Box(-4, 4, (1,)))
    with pytest.raises(ValueError, match="unit-actions.*Discrete"):
        Transforms(unit_actions=True).actions(np.array([1]), spaces.Discrete(2))


def test_actions_that_no_policy_will_take_are_told() -> None:
    def told(low: float, high: float) -> str | None:
        dataset = make_dataset([5], spaces.Box(low, high, (2,), np.float32))
        dataset.actions[:] = 0.0
        dataset.actions[3, 1] = 0.9
        return TrainingData.of(dataset).actions_out_of_reach

    assert told(-1.0, 0.9) is None
    assert told(-np.inf, np.inf) is None
    assert "1 of 2 action numbers" in (told(-0.4, 0.4) or "")
    assert "(number 1: 0 to 0.9 in the data, -0.4 to 0.4 in the space)" in (told(-0.4, 0.4) or "")
    assert "--data.unit-actions" in (told(-0.4, 0.4) or "")
    discrete = TrainingData.of(make_dataset([5], spaces.Discrete(3)))
    assert discrete.actions_out_of_reach is None


def test_a_reward_that_drowns_the_others_and_one_that_float32_lacks_are_named() -> None:
    dataset = make_dataset([7, 2, 11])
    assert TrainingData.of(dataset).outlying_reward is None
    rewards = dataset.rewards.astype(np.float64)
    rewards[8] = 1e30
    note = TrainingData.of(dataclasses.replace(dataset, rewards=rewards)).outlying_reward
    assert note is not None and note.startswith("the reward at episode 1, step 1 is 1e+30, where")
    rewards[8] = 1e39
    with pytest.raises(ValueError, match="the return to go at episode 1, step 0 cannot be held as"):
        TrainingData.of(dataclasses.replace(dataset, rewards=rewards))
