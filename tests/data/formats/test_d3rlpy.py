"""Are the files of d3rlpy 1 and 2 read as d3rlpy reads them, and bad ones refused by name?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from random_logs import assert_same_steps, episodes

from dt.data import Episode
from dt.data.formats.d3rlpy import read_d3rlpy


def write_v1(path: Path, logged: list[Episode], fragment: int = 0, **changes: Any) -> None:
    """As `MDPDataset.dump`: flat arrays, ends as float32."""

    def flat(name: str) -> np.ndarray:
        values = np.concatenate([getattr(e, name)[: len(e)] for e in logged])
        return np.concatenate([values, np.zeros((fragment, *values.shape[1:]), values.dtype)])

    terminals = flat("terminations")
    arrays: dict[str, Any] = {
        "observations": flat("observations"),
        "actions": flat("actions"),
        "rewards": flat("rewards"),
        "terminals": terminals.astype(np.float32),
        "episode_terminals": (terminals | flat("truncations")).astype(np.float32),
        "discrete_action": logged[0].actions.ndim == 1,
        "version": "1.0",
        **changes,
    }
    with h5py.File(path, "w") as file:
        for key, values in arrays.items():
            if values is not None:
                file.create_dataset(key, data=values)


def write_v2(path: Path, logged: list[Episode], **changes: Any) -> None:
    """As `ReplayBuffer.dump` 2.1: an episode's columns apart, all with a second axis."""
    arrays: dict[str, Any] = {
        "columns": ["observations", "actions", "rewards", "terminated"],
        "num_episodes": len(logged),
        "version": "2.1",
    }
    for index, e in enumerate(logged):
        arrays[f"observations_{index}"] = e.observations[: len(e)]
        arrays[f"actions_{index}"] = e.actions.reshape(len(e), -1)
        arrays[f"rewards_{index}"] = e.rewards[:, None]
        arrays[f"terminated_{index}"] = bool(e.terminations[-1])
    with h5py.File(path, "w") as file:
        for key, values in {**arrays, **changes}.items():
            if values is not None:
                file.create_dataset(key, data=values)


def as_d3rlpy_keeps_them(logged: list[Episode]) -> list[Episode]:
    """An end is a terminal or a time limit, never both."""
    return [
        Episode(
            e.observations[: len(e)],
            e.actions,
            e.rewards,
            e.terminations,
            e.truncations & ~e.terminations,
        )
        for e in logged
    ]


def make_episode(length: int, terminated: bool = True, actions: Any = None) -> Episode:
    last = np.arange(length) == length - 1
    return Episode(
        observations=np.full((length, 2), length, np.float32),
        actions=np.arange(length) % 3 if actions is None else actions,
        rewards=np.ones(length, np.float32),
        terminations=last & terminated,
        truncations=last & (not terminated),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.h5"


@settings(deadline=None, max_examples=25)
@given(episodes(finals=False), st.integers(0, 3))
def test_random_logs_of_version_1_come_back_without_their_fragment(
    tmp_path_factory: pytest.TempPathFactory, logged: list[Episode], fragment: int
) -> None:
    path = tmp_path_factory.mktemp("v1") / "log.h5"
    write_v1(path, logged, fragment)
    dataset = read_d3rlpy(path)
    assert_same_steps(dataset, as_d3rlpy_keeps_them(logged))
    assert bool(dataset.notes) == bool(fragment)


@settings(deadline=None, max_examples=25)
@given(episodes(finals=False))
def test_random_logs_of_version_2_come_back(
    tmp_path_factory: pytest.TempPathFactory, logged: list[Episode]
) -> None:
    path = tmp_path_factory.mktemp("v2") / "log.h5"
    write_v2(path, logged)
    assert_same_steps(read_d3rlpy(path), as_d3rlpy_keeps_them(logged))


def test_version_2_0_stacks_episodes_of_one_length(path: Path) -> None:
    logged = [make_episode(3), make_episode(3, terminated=False)]
    with h5py.File(path, "w") as file:
        file["columns"] = ["observations", "actions", "rewards", "terminated"]
        file["total_size"] = 2
        file["observations"] = np.stack([e.observations for e in logged])
        file["actions"] = np.stack([e.actions[:, None] for e in logged])
        file["rewards"] = np.stack([e.rewards[:, None] for e in logged])
        file["terminated"] = [True, False]
        file["version"] = "2.0"
    dataset = read_d3rlpy(path)
    assert_same_steps(dataset, logged)
    assert dataset.action_space == spaces.Discrete(3)


def test_without_episode_terminals_episodes_end_at_terminals(path: Path) -> None:
    write_v1(path, [make_episode(3), make_episode(2)], episode_terminals=None)
    assert read_d3rlpy(path).lengths.tolist() == [3, 2]


def test_discrete_actions_may_be_whole_floats(path: Path) -> None:
    write_v1(path, [make_episode(3)], actions=np.array([0.0, 2.0, 1.0]), discrete_action=True)
    dataset = read_d3rlpy(path)
    assert dataset.action_space == spaces.Discrete(3)
    assert dataset.actions.tolist() == [0, 2, 1]


@pytest.mark.parametrize("actions", [[0.0, 0.5, 1.0], [0.0, np.nan, 1.0]])
def test_fractions_are_no_discrete_actions(path: Path, actions: list[float]) -> None:
    write_v1(path, [make_episode(3)], actions=np.array(actions), discrete_action=True)
    with pytest.raises(ValueError, match=r"log\.h5: actions are float64 with fractions"):
        read_d3rlpy(path)


@pytest.mark.parametrize("key", ["observations", "actions", "rewards", "terminals"])
def test_a_missing_key_of_version_1_is_named(path: Path, key: str) -> None:
    write_v1(path, [make_episode(3)], **{key: None})
    with pytest.raises(ValueError, match=rf"log\.h5: has no key '{key}'"):
        read_d3rlpy(path)


@pytest.mark.parametrize("key", ["observations_1", "actions_1", "rewards_1", "terminated_1"])
def test_a_missing_key_of_version_2_is_named(path: Path, key: str) -> None:
    write_v2(path, [make_episode(3), make_episode(2)], **{key: None})
    with pytest.raises(ValueError, match=rf"log\.h5: has no key '{key}'"):
        read_d3rlpy(path)


@pytest.mark.parametrize("key", ["observations", "actions", "rewards", "episode_terminals"])
def test_ragged_lengths_of_version_1_are_refused_by_key(path: Path, key: str) -> None:
    write_v1(path, [make_episode(3)], **{key: np.zeros((4, 2))[:, : 2 if key[0] == "o" else 1]})
    with pytest.raises(ValueError, match=rf"log\.h5: {key} has 4 rows, terminals 3"):
        read_d3rlpy(path)


@pytest.mark.parametrize("key", ["observations_1", "actions_1"])
def test_ragged_lengths_of_version_2_are_refused_by_episode(path: Path, key: str) -> None:
    write_v2(path, [make_episode(3), make_episode(2)], **{key: np.zeros((4, 2))})
    with pytest.raises(ValueError, match=rf"log\.h5: episode 1 has 4 {key[:-2]} for 2 rewards"):
        read_d3rlpy(path)


def test_episodes_of_two_environments_are_refused(path: Path) -> None:
    write_v2(path, [make_episode(3), make_episode(2)], observations_1=np.zeros((2, 5)))
    with pytest.raises(ValueError, match=r"episode 1 has observations of shape \(5,\) a step"):
        read_d3rlpy(path)


def test_an_episode_without_a_step_is_refused(path: Path) -> None:
    empty = {key: np.zeros((0, 2)) for key in ("observations_1", "actions_1", "rewards_1")}
    write_v2(path, [make_episode(3), make_episode(1)], **empty)
    with pytest.raises(ValueError, match=r"log\.h5: episode 1 has 0 steps; remove it"):
        read_d3rlpy(path)


def test_no_episode_is_refused(path: Path) -> None:
    write_v2(path, [make_episode(1)], num_episodes=0)
    with pytest.raises(ValueError, match=r"log\.h5: holds no episode"):
        read_d3rlpy(path)
    write_v1(path, [make_episode(2)], terminals=np.zeros(2), episode_terminals=np.zeros(2))
    with pytest.raises(ValueError, match=r"log\.h5: no step ends an episode"):
        read_d3rlpy(path)


def test_observations_in_several_arrays_are_refused(path: Path) -> None:
    parts = {"observations_0": None, "observations_0_0": np.zeros((2, 3))}
    write_v2(path, [make_episode(2)], **parts)
    with pytest.raises(ValueError, match="observations are in several arrays"):
        read_d3rlpy(path)
