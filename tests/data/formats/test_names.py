"""Arrays under the names and in the layouts that other libraries give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dt
from dt.data import EpisodeDataset
from dt.data.formats.flat import from_arrays
from dt.data.formats.npz import read_npz

ROWS = np.arange(12.0, dtype=np.float32).reshape(6, 2)
ENDS = np.array([0, 0, 1, 0, 0, 1], bool)
BASE: dict[str, np.ndarray] = {
    "observations": ROWS,
    "actions": np.linspace(-1, 1, 6, dtype=np.float32)[:, None],
    "rewards": np.arange(6.0, dtype=np.float32),
}


def read(tmp_path: Path, **arrays: Any) -> EpisodeDataset:
    path = tmp_path / "log.npz"
    np.savez(path, **arrays)
    return read_npz(path)


def assert_same(dataset: EpisodeDataset, terminations: np.ndarray) -> None:
    for key in ("observations", "actions", "rewards"):
        np.testing.assert_array_equal(getattr(dataset, key), BASE[key])
    np.testing.assert_array_equal(dataset.terminations, terminations)
    assert dataset.lengths.tolist() == [3, 3]


def test_short_names_are_understood_and_it_is_said(tmp_path: Path) -> None:
    dataset = read(tmp_path, obs=ROWS, act=BASE["actions"], rew=BASE["rewards"], terminals=ENDS)
    assert_same(dataset, ENDS)
    assert dataset.notes == (
        "understood: obs as observations, act as actions, rew as rewards, "
        "terminals as terminations",
    )


def test_dones_alone_end_episodes_with_the_lines_that_would_say_more(tmp_path: Path) -> None:
    dataset = read(tmp_path, **BASE, dones=ENDS)
    assert_same(dataset, ENDS)
    (note,) = dataset.notes
    first, second = note.partition("to say it: ")[2].split("; ")
    data = {**BASE, "dones": ENDS}
    limit = np.array([0, 0, 0, 0, 0, 1], bool)
    exec(f"{first}\n{second}", {"data": data, "made_by_the_limit": limit})
    mended = from_arrays("mended", data)
    assert not mended.notes
    np.testing.assert_array_equal(mended.truncations, ENDS & limit)
    np.testing.assert_array_equal(mended.terminations, ENDS & ~limit)


def test_dones_with_timeouts_are_terminations_but_for_those(tmp_path: Path) -> None:
    timeouts = np.array([0, 0, 0, 0, 0, 1], bool)
    dataset = read(tmp_path, **BASE, dones=ENDS, timeouts=timeouts)
    assert_same(dataset, ENDS & ~timeouts)
    np.testing.assert_array_equal(dataset.truncations, timeouts)


def test_two_names_for_one_thing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="obs and state, both of which may be observations"):
        read(tmp_path, obs=ROWS, state=ROWS, act=BASE["actions"], rew=BASE["rewards"], dones=ENDS)


def test_data_of_goals_have_no_rewards(tmp_path: Path) -> None:
    """OGBench: observations, actions, terminals, and what the simulator was in."""
    dataset = read(tmp_path, observations=ROWS, actions=BASE["actions"], terminals=ENDS, qpos=ROWS)
    assert dataset.lengths.tolist() == [3, 3] and not dataset.rewards.any()
    np.testing.assert_array_equal(dataset.truncations, ENDS)
    assert "no rewards" in dataset.notes[-1] and "--model.prefix goal" in dataset.notes[-1]


def test_rewards_that_are_misspelt_are_not_taken_for_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no key 'rewards'"):
        read(tmp_path, observations=ROWS, actions=BASE["actions"], rewardz=ROWS[:, 0], dones=ENDS)


def buffer(size: int, written: int, num_envs: int = 2, length: int = 4) -> dict[str, np.ndarray]:
    """What Stable-Baselines3's ReplayBuffer holds after so many steps of each environment.

    Environment e's step t has the observation [e, t] and the reward t; each episode has `length`
    steps, and every second one ends by its time limit.
    """
    arrays: dict[str, np.ndarray] = {
        "observations": np.zeros((size, num_envs, 2), np.float32),
        "next_observations": np.zeros((size, num_envs, 2), np.float32),
        "actions": np.zeros((size, num_envs, 1), np.float32),
        "rewards": np.zeros((size, num_envs), np.float32),
        "dones": np.zeros((size, num_envs), np.float32),
        "timeouts": np.zeros((size, num_envs), np.float32),
    }
    for t in range(written):
        for env in range(num_envs):
            row = t % size
            arrays["observations"][row, env] = env, t
            arrays["next_observations"][row, env] = env, t + 1
            arrays["actions"][row, env] = 0.5
            arrays["rewards"][row, env] = t
            arrays["dones"][row, env] = t % length == length - 1
            arrays["timeouts"][row, env] = t % (2 * length) == 2 * length - 1
    return {**arrays, "pos": np.array(written % size), "full": np.array(written >= size)}


@pytest.mark.parametrize("ring", [True, False])
@pytest.mark.parametrize(
    ("written", "times"),
    [
        (10, [0, 1, 2, 3, 4, 5, 6, 7]),
        (20, list(range(4, 20))),  # its oldest row may be the middle of an episode
        (30, list(range(12, 28))),
    ],
)
def test_replay_buffers_of_stable_baselines_come_in_order_of_time(
    tmp_path: Path, written: int, times: list[int], ring: bool
) -> None:
    arrays = buffer(20, written)
    if not ring:
        if written >= 20:
            pytest.skip("without its position nobody knows where a ring begins")
        arrays = {key: value for key, value in arrays.items() if key not in ("pos", "full")}
    dataset = read(tmp_path, **arrays)
    expected = [[env, t] for env in range(2) for t in times]
    np.testing.assert_array_equal(dataset.observations, expected)
    assert set(dataset.lengths.tolist()) == {4}
    ends = np.array([t % 4 == 3 for _, t in expected])
    limits = np.array([t % 8 == 7 for _, t in expected])
    np.testing.assert_array_equal(dataset.truncations, limits)
    np.testing.assert_array_equal(dataset.terminations, ends & ~limits)
    assert dataset.final_observations is not None
    np.testing.assert_array_equal(
        dataset.final_observations, np.array(expected)[ends] + np.array([0, 1])
    )
    assert any("2 environments side by side" in note for note in dataset.notes)


def test_a_buffer_in_which_nothing_ended_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no episode of 2 environments has an end"):
        read(tmp_path, **buffer(20, 3))


def test_lists_of_dicts_are_read_in_memory() -> None:
    steps = [
        {"obs": ROWS[t], "action": BASE["actions"][t], "reward": float(t), "done": bool(ENDS[t])}
        for t in range(6)
    ]
    assert_same(dt.load_data(steps), ENDS)
    episodes = [
        {"obs": ROWS[i : i + 3], "acts": BASE["actions"][i : i + 3], "rewards": [i, i + 1, i + 2]}
        for i in (0, 3)
    ]
    dataset = dt.load_data(episodes)
    assert_same(dataset, np.zeros(6, bool))
    assert "no terminals" in dataset.notes[0]
    with pytest.raises(ValueError, match="episode 1 has no key 'acts'; it holds obs, rewards"):
        dt.load_data([episodes[0], {"obs": ROWS, "rewards": [1.0]}])
    with pytest.raises(ValueError, match="step 5 has no key 'obs'"):
        dt.load_data([*steps[:5], {"reward": 1.0}])
