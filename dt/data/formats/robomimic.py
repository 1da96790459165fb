"""Read robomimic's HDF5 files of demonstrations.

data/demo_0, data/demo_1, ... hold actions, rewards, dones and obs/KEY, one row a step, and often
next_obs/KEY and states; the attribute env_args of data names a robosuite environment, which is none
of Gymnasium's. One key of observations is a plain array, several are a Dict. A demonstration is an
episode, and its last step ended it where its done says so. Masks, which name training's and
validation's parts, are left alone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import gymnasium
import numpy as np
from gymnasium import spaces

from dt.data.episodes import Episode, EpisodeDataset
from dt.data.formats.flat import from_steps
from dt.data.formats.format import Format
from dt.data.formats.hdf5 import hdf5_keys, names_in, open_hdf5, read_array
from dt.spaces.environments import EnvKwargs
from dt.spaces.infer import infer_spaces
from dt.spaces.records import to_records

if TYPE_CHECKING:
    import h5py


def is_robomimic(path: Path, head: bytes) -> bool:
    """Tell by an HDF5 file's keys: data, which holds demo_0 and so on."""
    if "data" not in hdf5_keys(path, head):
        return False
    with open_hdf5(path, names_only=True) as file:
        return bool(_demos(file))


def read_robomimic(
    path: Path, env_id: str | None = None, env_kwargs: EnvKwargs | None = None
) -> EpisodeDataset:
    """Read the file whole.

    Raises:
        ValueError: naming the file, and the demonstration and key that is missing or does not fit.
    """
    with open_hdf5(path) as file:
        demos = _demos(file)
        keys = _keys(path, file, demos[0])
        first = {key: read_array(path, file, f"data/{demos[0]}/obs/{key}") for key in keys}
        space = _space(first)
        episodes = [_episode(path, file, demo, keys, space) for demo in demos]
    note = (
        f"understood: robomimic, {len(demos)} demonstrations, observations of {', '.join(keys)}; "
        f"its environment is robosuite's, which Gymnasium does not make"
    )
    acted = np.concatenate([episode.actions for episode in episodes])
    stated = space, infer_spaces(acted, acted)[1]
    return from_steps(str(path), episodes, env_id, env_kwargs, [note], stated)


def _demos(file: h5py.File) -> list[str]:
    group = file.get("data")
    names = [] if group is None or not hasattr(group, "keys") else list(map(str, group))
    found = [name for name in names if re.fullmatch(r"demo_\d+", name)]
    return sorted(found, key=lambda name: int(name.removeprefix("demo_")))


def _keys(path: Path, file: h5py.File, demo: str) -> list[str]:
    group = file.get(f"data/{demo}/obs")
    if group is None or not hasattr(group, "keys") or not len(group):
        raise ValueError(
            f"{path}: data/{demo} has no obs; extract observations with robomimic's "
            f"dataset_states_to_obs.py (the file holds {names_in(file)})"
        )
    return sorted(map(str, group))


def _space(arrays: dict[str, np.ndarray]) -> gymnasium.Space:
    parts: dict[str, gymnasium.Space] = {}
    for key, values in arrays.items():
        shape = values.shape[1:]
        if values.dtype == np.uint8 and len(shape) in (2, 3):
            parts[key] = spaces.Box(0, 255, shape, np.uint8)
        else:
            parts[key] = spaces.Box(-np.inf, np.inf, shape, np.float32)
    return next(iter(parts.values())) if len(parts) == 1 else spaces.Dict(parts)


def _episode(
    path: Path, file: h5py.File, demo: str, keys: list[str], space: gymnasium.Space
) -> Episode:
    where = f"data/{demo}"
    actions = read_array(path, file, f"{where}/actions")
    rewards = read_array(path, file, f"{where}/rewards").reshape(-1)
    dones = read_array(path, file, f"{where}/dones").reshape(-1).astype(bool)
    observations = _observations(path, file, f"{where}/obs", keys, space)
    if f"{where}/next_obs" in file:
        following = _observations(path, file, f"{where}/next_obs", keys, space)
        if len(following) and following.dtype == observations.dtype:
            observations = np.concatenate([observations, following[-1:]])
    last = np.arange(len(rewards)) == len(rewards) - 1
    ended = last & bool(dones.any())
    return Episode(observations, actions, rewards, ended, last & ~ended)


def _observations(
    path: Path, file: h5py.File, where: str, keys: list[str], space: gymnasium.Space
) -> np.ndarray:
    parts = {key: read_array(path, file, f"{where}/{key}") for key in keys}
    if len(keys) == 1:
        return parts[keys[0]]
    try:
        return to_records(space, parts)
    except ValueError as error:
        raise ValueError(f"{path}: {where}: {error}") from None


FORMAT = Format(
    name="robomimic", file="robomimic's HDF5", is_file=is_robomimic, read=read_robomimic
)
