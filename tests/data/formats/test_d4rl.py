"""Are D4RL's files read as D4RL reads them, and bad ones refused by name?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_logs import assert_same_steps, episodes

from dt.data import Episode
from dt.data.formats.d4rl import read_d4rl


def write(path: Path, **arrays: Any) -> None:
    """As D4RL's own scripts: gzip, infos and metadata in groups; a None leaves a key out."""
    with h5py.File(path, "w") as file:
        for key, values in arrays.items():
            if values is not None:
                file.create_dataset(key, data=values, compression="gzip")
        file["metadata/algorithm"] = "SAC"
        file.create_dataset("infos/qpos", data=np.zeros((len(arrays["rewards"]), 6)))


def marks(count: int, *true: int) -> np.ndarray:
    return np.isin(np.arange(count), true)


def make_arrays(count: int = 6, **changes: Any) -> dict[str, Any]:
    """Six steps, a terminal at 1 and a timeout at 4; a change of None removes the key."""
    return {
        "observations": np.arange(2.0 * count, dtype=np.float32).reshape(count, 2),
        "actions": np.linspace(-1, 1, count, dtype=np.float32)[:, None],
        "rewards": 2.0 ** (np.arange(count) % 8).astype(np.float32),
        "terminals": marks(count, 1),
        "timeouts": marks(count, 4),
        **changes,
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.hdf5"


def test_episodes_end_at_terminals_and_at_timeouts(path: Path) -> None:
    write(path, **make_arrays(5))
    dataset = read_d4rl(path)
    assert dataset.lengths.tolist() == [2, 3]
    assert dataset.returns.tolist() == [3.0, 28.0]
    assert np.flatnonzero(dataset.terminations).tolist() == [1]
    assert np.flatnonzero(dataset.truncations).tolist() == [4]
    assert (dataset.env_id, dataset.notes, dataset.final_observations) == (None, (), None)


def test_the_fragment_that_the_log_cut_off_is_left_out_and_said(path: Path) -> None:
    write(path, **make_arrays(6))
    dataset = read_d4rl(path)
    assert (dataset.lengths.tolist(), dataset.num_steps) == ([2, 3], 5)
    assert dataset.notes == ("the last 1 steps end in no terminal or timeout and were left out",)


@settings(deadline=None, max_examples=25)
@given(episodes(discrete=False, finals=False), st.integers(0, 3))
def test_random_logs_come_back_without_their_fragment(
    tmp_path_factory: pytest.TempPathFactory, logged: list[Episode], fragment: int
) -> None:
    path = tmp_path_factory.mktemp("d4rl") / "log.hdf5"
    fields = {"terminals": "terminations", "timeouts": "truncations"}
    arrays = {
        key: np.concatenate([getattr(e, fields.get(key, key)) for e in logged])
        for key in ("observations", "actions", "rewards", "terminals", "timeouts")
    }
    for key, values in arrays.items():
        arrays[key] = np.concatenate(
            [values, np.zeros((fragment, *values.shape[1:]), values.dtype)]
        )
    write(path, **arrays)
    dataset = read_d4rl(path)
    assert_same_steps(dataset, logged)
    assert bool(dataset.notes) == bool(fragment)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_ends_may_be_numbers(path: Path, dtype: Any) -> None:
    ends = {"terminals": marks(5, 1).astype(dtype), "timeouts": marks(5, 4).astype(dtype)}
    write(path, **make_arrays(5, **ends))
    assert read_d4rl(path).lengths.tolist() == [2, 3]


def test_next_observations_say_what_came_after_each_last_action(path: Path) -> None:
    following = np.full((6, 2), -1.0, np.float32)
    following[1], following[4] = (7.0, 8.0), (9.0, 10.0)
    write(path, **make_arrays(6, next_observations=following))
    dataset = read_d4rl(path)
    assert dataset.final_observations is not None
    assert dataset.final_observations.tolist() == [[7.0, 8.0], [9.0, 10.0]]
    assert dataset[1].observations[-1].tolist() == [9.0, 10.0]


def test_next_observations_are_looked_up_block_by_block(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = np.arange(12.0, dtype=np.float32).reshape(6, 2)
    write(path, **make_arrays(6, next_observations=following))
    monkeypatch.setattr("dt.data.formats.d4rl.ROWS", 2)
    finals = read_d4rl(path).final_observations
    assert finals is not None and finals.tolist() == [[2.0, 3.0], [8.0, 9.0]]


def test_without_timeouts_the_time_limit_cuts_every_episode_at_the_same_length(path: Path) -> None:
    """D4RL's own reading cuts the second episode one step early."""
    write(path, **make_arrays(11, terminals=marks(11, 9), timeouts=None))
    dataset = read_d4rl(path, None, {"max_episode_steps": 3})
    assert dataset.lengths.tolist() == [3, 3, 3, 1]
    assert np.flatnonzero(dataset.terminations).tolist() == [9]
    assert np.flatnonzero(dataset.truncations).tolist() == [2, 5, 8]
    assert "the last 1 steps" in dataset.notes[0]


def test_without_timeouts_a_terminal_starts_the_time_limit_anew(path: Path) -> None:
    write(path, **make_arrays(7, terminals=marks(7, 1, 4), timeouts=None))
    assert read_d4rl(path, None, {"max_episode_steps": 3}).lengths.tolist() == [2, 3]


def test_the_time_limit_may_be_that_of_the_environment_that_is_named(path: Path) -> None:
    limit = gymnasium.registry["Pendulum-v1"].max_episode_steps
    assert limit is not None
    count = 2 * limit
    arrays = make_arrays(count, terminals=marks(count), timeouts=None)
    arrays["observations"] = np.zeros((count, 3), np.float32)
    write(path, **arrays)
    assert read_d4rl(path, "Pendulum-v1").lengths.tolist() == [limit, limit]


def test_without_timeouts_and_limit_terminals_alone_end_episodes(path: Path) -> None:
    write(path, **make_arrays(6, terminals=marks(6, 1, 5), timeouts=None))
    dataset = read_d4rl(path)
    assert dataset.lengths.tolist() == [2, 4]
    assert "no timeouts and no known time limit" in dataset.notes[0]


@pytest.mark.parametrize("timeouts", [None, marks(6)])
def test_a_log_without_any_end_is_refused(path: Path, timeouts: np.ndarray | None) -> None:
    write(path, **make_arrays(6, terminals=marks(6), timeouts=timeouts))
    with pytest.raises(ValueError, match=r"log\.hdf5: no step is a terminal or a timeout"):
        read_d4rl(path)


@pytest.mark.parametrize("key", ["observations", "actions", "rewards", "terminals"])
def test_a_missing_key_is_named(path: Path, key: str) -> None:
    arrays = make_arrays(5)
    del arrays[key]
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    with pytest.raises(ValueError, match=rf"log\.hdf5: has no key '{key}'; it holds "):
        read_d4rl(path)


@pytest.mark.parametrize("key", ["observations", "actions", "terminals", "timeouts"])
@pytest.mark.parametrize("count", [4, 7])
def test_ragged_lengths_are_refused_by_key(path: Path, key: str, count: int) -> None:
    arrays = make_arrays(6)
    arrays[key] = np.resize(arrays[key], (count, *arrays[key].shape[1:]))
    write(path, **arrays)
    with pytest.raises(ValueError, match=r"log\.hdf5: .*(rows|shape).*one row a step"):
        read_d4rl(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_not_finite_names_episode_and_step(path: Path, value: float) -> None:
    arrays = make_arrays(5)
    arrays["observations"][3, 1] = value
    write(path, **arrays)
    with pytest.raises(ValueError, match=r"log\.hdf5: observations at episode 1, step 1 is not"):
        read_d4rl(path)


def test_an_empty_log_is_refused(path: Path) -> None:
    write(path, **make_arrays(0))
    with pytest.raises(ValueError, match=r"log\.hdf5: holds no episode"):
        read_d4rl(path)


def test_words_in_place_of_numbers_are_refused(path: Path) -> None:
    arrays = make_arrays(5)
    del arrays["rewards"]
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
        file["rewards"] = ["a", "b", "c", "d", "e"]
    with pytest.raises(ValueError, match=r"log\.hdf5: rewards is object .* needs numbers"):
        read_d4rl(path)


def test_float_actions_are_refused_where_the_environment_s_are_discrete(path: Path) -> None:
    arrays = make_arrays(5, observations=np.zeros((5, 4), np.float32))
    arrays["actions"] = arrays["actions"][:, 0]
    write(path, **arrays)
    with pytest.raises(ValueError, match=r"actions are float32, but the space is Discrete\(2\)"):
        read_d4rl(path, "CartPole-v1")
