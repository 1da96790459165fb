"""Does a local Minari data set come back as the episodes that were written into it?"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium
import minari
import numpy as np
import pytest
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer

from dt.data.minari import is_minari_id, read_minari

FOUR = spaces.Box(-np.inf, np.inf, (4,), np.float32)
TWO = spaces.Discrete(2)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def make_buffer(
    num_steps: int, first: float, terminated: bool = True, **changes: Any
) -> EpisodeBuffer:
    """Observations count up from `first`, one more of them than actions, as Minari logs."""
    rows = np.arange(first, first + num_steps + 1, dtype=np.float32)
    last = [False] * (num_steps - 1)
    fields = {
        "observations": np.repeat(rows[:, None], 4, axis=1),
        "actions": np.arange(num_steps) % 2,
        "rewards": [float(i) for i in range(1, num_steps + 1)],
        "terminations": [*last, terminated],
        "truncations": [*last, not terminated],
    }
    return EpisodeBuffer(**{**fields, **changes})


def write(
    dataset_id: str,
    *buffers: EpisodeBuffer,
    observation_space: spaces.Space = FOUR,
    action_space: spaces.Space = TWO,
    env: gymnasium.Env | None = None,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Minari's remarks on metadata that a test does not need
        minari.create_dataset_from_buffers(
            dataset_id,
            list(buffers),
            env=env,
            observation_space=observation_space,
            action_space=action_space,
        )


def test_episodes_come_back_without_the_observation_after_the_last_action() -> None:
    write("test/log-v0", make_buffer(3, 0.0), make_buffer(2, 10.0, terminated=False))
    dataset = read_minari("test/log-v0")
    assert dataset.name == "test/log-v0"
    assert dataset.lengths.tolist() == [3, 2]
    assert dataset.observations[:, 0].tolist() == [0.0, 1.0, 2.0, 10.0, 11.0]
    assert dataset.actions.tolist() == [0, 1, 0, 0, 1]
    assert dataset.rewards.tolist() == [1.0, 2.0, 3.0, 1.0, 2.0]
    assert dataset.terminations.tolist() == [False, False, True, False, False]
    assert dataset.truncations.tolist() == [False, False, False, False, True]


def test_discrete_actions_keep_their_space_and_stay_integers() -> None:
    write("test/log-v0", make_buffer(3, 0.0))
    dataset = read_minari("test/log-v0")
    assert dataset.action_space == TWO
    assert np.issubdtype(dataset.actions.dtype, np.integer)


def test_continuous_actions_keep_their_space() -> None:
    box = spaces.Box(-2.0, 2.0, (2,), np.float32)
    actions = np.array([[0.5, -1.5], [2.0, 0.0]], np.float32)
    write("test/log-v0", make_buffer(2, 0.0, actions=actions), action_space=box)
    dataset = read_minari("test/log-v0")
    assert dataset.action_space == box
    np.testing.assert_array_equal(dataset.actions, actions)


def test_a_data_set_without_an_environment_names_none() -> None:
    write("test/log-v0", make_buffer(3, 0.0))
    dataset = read_minari("test/log-v0")
    assert (dataset.env_id, dataset.env_kwargs) == (None, {})


@pytest.fixture
def collected() -> str:
    """A data set that names CartPole with a time limit of its own, 77."""
    env = gymnasium.make("CartPole-v1", max_episode_steps=77)
    write(
        "test/collected-v3",
        make_buffer(3, 0.0),
        env=env,
        observation_space=env.observation_space,
        action_space=env.action_space,
    )
    env.close()
    return "test/collected-v3"


def test_the_environment_comes_with_its_own_time_limit(collected: str) -> None:
    dataset = read_minari(collected)
    assert (dataset.env_id, dataset.env_kwargs) == ("CartPole-v1", {"max_episode_steps": 77})


def test_what_is_given_by_hand_overrides_the_data_s_environment(collected: str) -> None:
    assert read_minari(collected, None, {"max_episode_steps": 5}).env_kwargs == {
        "max_episode_steps": 5
    }
    assert read_minari(collected, "CartPole-v0").env_id == "CartPole-v0"


def test_an_environment_of_another_shape_is_refused(collected: str) -> None:
    with pytest.raises(ValueError, match=r"observations have shape \(4,\) a step"):
        read_minari(collected, "Pendulum-v1")


def test_observations_that_are_no_vectors_are_refused_by_space() -> None:
    steps = make_buffer(2, 0.0, observations=np.array([0, 1, 0]))
    write("test/log-v0", steps, observation_space=TWO)
    with pytest.raises(ValueError, match=r"observations are Discrete\(2\)"):
        read_minari("test/log-v0")


def test_actions_that_are_neither_vectors_nor_numbers_are_refused_by_space() -> None:
    hands = spaces.Dict(left=TWO, right=TWO)
    actions = {"left": np.array([0, 1]), "right": np.array([1, 1])}
    write("test/log-v0", make_buffer(2, 0.0, actions=actions), action_space=hands)
    with pytest.raises(ValueError, match="test/log-v0: actions are Dict"):
        read_minari("test/log-v0")


def test_a_data_set_that_is_not_there_says_how_to_get_it() -> None:
    with pytest.raises(ValueError, match="minari download test/none-v0"):
        read_minari("test/none-v0")


def test_a_damaged_file_is_refused_by_name(root: Path) -> None:
    write("test/log-v0", make_buffer(3, 0.0))
    (file,) = root.rglob("*.hdf5")
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ValueError, match="test/log-v0"):
        read_minari("test/log-v0")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("mujoco/hopper/expert-v0", True),
        ("hopper-v12", True),
        ("D4RL/door/human-v2", True),
        ("hopper", False),
        ("hopper-v", False),
        ("hopper-v0.npz", False),
        ("demo:hopper-v0", False),
        ("hop per-v0", False),
    ],
)
def test_an_id_is_told_by_its_form(source: str, expected: bool) -> None:
    assert is_minari_id(source) is expected
