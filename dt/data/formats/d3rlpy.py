"""Read d3rlpy's HDF5 files.

- v1 (`MDPDataset.dump`): observations, actions, rewards, terminals, episode_terminals (one row a
  step) and discrete_action. An episode ends at its episode_terminal, and by time limit where that
  step is no terminal; files without episode_terminals end episodes at terminals. Steps after the
  last end are in no episode of d3rlpy's either, and a note says so.
- v2 (`ReplayBuffer.dump`): columns and num_episodes, then observations_0, actions_0, rewards_0,
  terminated_0, observations_1, ... an episode each. Version 2.0, which d3rlpy itself no longer
  reads, stacks episodes of one length instead: total_size, then observations (E, T, ...), ...

Integer actions are discrete; v2 does not say it otherwise. Observations in several arrays, which
v2 writes as observations_0_0, observations_0_1, ..., are not read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dt.data.episodes import Episode, EpisodeDataset
from dt.data.formats.flat import complete_lengths, from_arrays, from_steps
from dt.data.formats.format import Format
from dt.data.formats.hdf5 import hdf5_keys, names_in, open_hdf5, read_array
from dt.spaces.environments import EnvKwargs

if TYPE_CHECKING:
    import h5py

V2_COLUMNS = ("observations", "actions", "rewards", "terminated")


def is_d3rlpy(path: Path, head: bytes) -> bool:
    """Tell by an HDF5 file's keys."""
    keys = hdf5_keys(path, head)
    return "discrete_action" in keys or {"columns", "version"} <= keys


def read_d3rlpy(
    path: Path, env_id: str | None = None, env_kwargs: EnvKwargs | None = None
) -> EpisodeDataset:
    """Read the file whole.

    Raises:
        ValueError: naming the file and the key that is missing or does not fit.
    """
    with open_hdf5(path) as file:
        if "columns" in file:
            episodes = _read_v2(path, file)
            return from_steps(str(path), episodes, env_id, env_kwargs)
        arrays, notes = _read_v1(path, file)
    return from_arrays(str(path), arrays, env_id, env_kwargs, notes)


def _read_v1(path: Path, file: h5py.File) -> tuple[dict[str, np.ndarray], list[str]]:
    arrays = {key: read_array(path, file, key) for key in ("observations", "actions", "rewards")}
    terminals = read_array(path, file, "terminals").reshape(-1).astype(bool)
    ends = terminals
    if "episode_terminals" in file:
        ends = read_array(path, file, "episode_terminals").reshape(-1).astype(bool)
    for key, values in {**arrays, "episode_terminals": ends}.items():
        if len(values) != len(terminals):
            raise ValueError(
                f"{path}: {key} has {len(values)} rows, terminals {len(terminals)}; every field "
                f"needs one row a step"
            )
    if "discrete_action" in file and _number(path, file, "discrete_action"):
        arrays["actions"] = _integers(path, arrays["actions"])
    lengths = complete_lengths(ends)
    if not len(lengths):
        raise ValueError(f"{path}: no step ends an episode; give a data set with at least one")
    whole = int(lengths.sum())
    left = len(ends) - whole
    notes = [f"the last {left} steps end no episode and were left out"] if left else []
    arrays = {key: values[:whole] for key, values in arrays.items()}
    arrays["terminations"] = terminals[:whole]
    arrays["truncations"] = ends[:whole] & ~terminals[:whole]
    return {**arrays, "episode_lengths": lengths}, notes


def _read_v2(path: Path, file: h5py.File) -> list[Episode]:
    if "num_episodes" in file:
        count = _number(path, file, "num_episodes")
        if "observations_0_0" in file:
            raise ValueError(
                f"{path}: observations are in several arrays; this version reads one a step"
            )
        columns = [
            [
                read_array(path, file, f"{key}_{index}", in_rows=key != "terminated")
                for key in V2_COLUMNS
            ]
            for index in range(count)
        ]
    elif "total_size" in file:
        stacked = {key: read_array(path, file, key) for key in V2_COLUMNS}
        count = _number(path, file, "total_size")
        for key, values in stacked.items():
            if len(values) != count:
                raise ValueError(f"{path}: {key} has {len(values)} episodes, total_size is {count}")
        columns = [list(column) for column in zip(*stacked.values(), strict=True)]
    else:
        raise ValueError(f"{path}: has no num_episodes; it holds {names_in(file)}")
    return [_episode(path, index, *column) for index, column in enumerate(columns)]


def _number(path: Path, file: h5py.File, key: str) -> int:
    value = read_array(path, file, key, in_rows=False)
    if value.size != 1:
        raise ValueError(f"{path}: {key} has shape {value.shape}; it needs one number")
    return int(value.item())


def _episode(
    path: Path,
    index: int,
    observations: np.ndarray,
    actions: np.ndarray,
    rewards: np.ndarray,
    terminated: np.ndarray | np.generic,
) -> Episode:
    if not rewards.ndim or rewards.size != len(rewards) or np.size(terminated) != 1:
        raise ValueError(
            f"{path}: episode {index} has rewards of shape {rewards.shape} and terminated of shape "
            f"{np.shape(terminated)}; it needs one reward a step and one end"
        )
    last = np.arange(len(rewards)) == len(rewards) - 1
    ended = last & bool(terminated)
    return Episode(observations, actions, rewards.reshape(-1), ended, last & ~ended)


def _integers(path: Path, actions: np.ndarray) -> np.ndarray:
    if np.issubdtype(actions.dtype, np.integer):
        return actions
    with np.errstate(invalid="ignore"):  # NaN is no integer either
        rounded = actions.astype(np.int64)
    if (rounded != actions).any():
        raise ValueError(
            f"{path}: actions are {actions.dtype} with fractions, but discrete_action is true; "
            f"give integers"
        )
    return rounded


FORMAT = Format(name="d3rlpy", file="d3rlpy's HDF5", is_file=is_d3rlpy, read=read_d3rlpy)
