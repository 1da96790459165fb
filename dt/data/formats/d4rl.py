"""Read and write D4RL's HDF5 files.

The d4rl package is not needed. Keys: observations, actions, rewards, terminals (one row a step);
often timeouts and next_observations; infos are left alone. Where episodes end:

- at terminals and at timeouts. An old file without timeouts is also cut after every
  max_episode_steps of its environment, if that is given or known; D4RL's own `sequence_dataset`
  does so too, one step early after the first episode;
- steps after the last end are an episode that the log cut off. Its returns-to-go would be too
  low by what is missing, so it is left out, as `sequence_dataset` does, and a note says so.

An environment is never guessed from a file's name. What this format cannot say, a file written
here says below metadata/, which D4RL's readers skip: the extras of `dt.data.formats.flat`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dt.data.episodes import EpisodeDataset
from dt.data.formats.flat import EXTRAS, complete_lengths, from_arrays, to_extras
from dt.data.formats.format import Format
from dt.data.formats.hdf5 import (
    MAGIC,
    hdf5_keys,
    names_in,
    number_dataset,
    open_hdf5,
    read_array,
    read_value,
    reserve,
)
from dt.data.streams import EpisodeSource, pieces
from dt.files import require_memory
from dt.spaces.environments import EnvKwargs, known_step_limit
from dt.spaces.parts import is_composite

if TYPE_CHECKING:
    import h5py

ROWS = 65536  # of next_observations looked at together
NAMES = {
    "observations": "observations",
    "actions": "actions",
    "rewards": "rewards",
    "terminals": "terminations",
    "timeouts": "truncations",
}


def is_d4rl(path: Path, head: bytes) -> bool:
    """Tell by an HDF5 file's keys; `read_d4rl` says which are missing."""
    return bool(hdf5_keys(path, head) & {"observations", "actions", "rewards", "terminals"})


def read_d4rl(
    path: Path, env_id: str | None = None, env_kwargs: EnvKwargs | None = None
) -> EpisodeDataset:
    """Read the file whole; `env_id` overrides the file's own.

    Raises:
        ValueError: naming the file and the key that is missing or does not fit.
    """
    with open_hdf5(path) as file:
        arrays = {
            ours: read_array(path, file, theirs)
            for theirs, ours in NAMES.items()
            if theirs in file or theirs != "timeouts"
        }
        arrays |= {
            key: read_value(path, file, f"metadata/{key}")
            for key in EXTRAS
            if f"metadata/{key}" in file
        }
        for key in ("terminations", "truncations"):
            if key in arrays:
                arrays[key] = arrays[key].reshape(-1).astype(bool)
        notes: list[str] = []
        if "episode_lengths" not in arrays:
            arrays, notes = _complete(path, arrays, known_step_limit(env_id, env_kwargs or {}))
        if "final_observations" not in arrays and "next_observations" in file:
            last = np.cumsum(arrays["episode_lengths"]) - 1
            arrays["final_observations"] = _rows(path, file, "next_observations", last)
    return from_arrays(str(path), arrays, env_id, env_kwargs, notes)


def write_d4rl(path: Path, source: EpisodeSource) -> None:
    """Write the source piece by piece; a stream need not fit in memory.

    Raises:
        ValueError: for spaces of several parts, which the format has no arrays for.
    """
    for space in (source.observation_space, source.action_space):
        if is_composite(space):
            raise ValueError(
                f"{source.name}: {space} has several parts, D4RL's format one array; convert to "
                f".npz, or to a Minari id"
            )
    import h5py

    h5py.File(path, "w").close()  # opened anew below: a file that is there can be reserved
    with h5py.File(path, "r+") as file:
        for piece in pieces(source):
            reserve(path, file.id.get_filesize(), _most_bytes(piece))
            for theirs, ours in NAMES.items():
                _append(source.name, file, theirs, getattr(piece, ours))
            _append(source.name, file, "metadata/episode_lengths", piece.lengths)
            if piece.final_observations is not None:
                _append(source.name, file, "metadata/final_observations", piece.final_observations)
        finals = file.get("metadata/final_observations")
        if finals is not None and len(finals) != len(file["metadata/episode_lengths"]):
            del file["metadata/final_observations"]  # as EpisodeDataset: of all episodes or none
        for key, value in to_extras(source).items():
            file[f"metadata/{key}"] = value
    h5py.File(path, "r+").close()  # gives back what was reserved and not used


def _complete(
    path: Path, arrays: dict[str, np.ndarray], limit: int | None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The episodes that have an end, with their lengths, and notes on what is left out."""
    ends, notes = arrays["terminations"], []
    if not len(ends):
        raise ValueError(f"{path}: holds no episode; give a data set with at least one")
    if "truncations" in arrays:
        if arrays["truncations"].shape != ends.shape:
            raise ValueError(
                f"{path}: timeouts has {len(arrays['truncations'])} rows, terminals {len(ends)}; "
                f"every field needs one row a step"
            )
        ends = ends | arrays["truncations"]
    elif limit is not None:
        arrays["truncations"] = _at_limit(ends, limit) & ~ends
        ends = ends | arrays["truncations"]
    else:
        notes.append("no timeouts and no known time limit: episodes end at terminals alone")
    lengths = complete_lengths(ends)
    if not len(lengths):
        raise ValueError(
            f"{path}: no step is a terminal or a timeout, so no episode has an end; name the "
            f"environment for its time limit, or its max_episode_steps"
        )
    whole = int(lengths.sum())
    if whole < len(ends):
        notes.append(
            f"the last {len(ends) - whole} steps end in no terminal or timeout and were left out"
        )
        for key in NAMES.values():
            # A field of another length is not cut, and so is refused.
            if key in arrays and len(arrays[key]) == len(ends):
                arrays[key] = arrays[key][:whole]
    return {**arrays, "episode_lengths": lengths}, notes


def _at_limit(ends: np.ndarray, limit: int) -> np.ndarray:
    """Whether a step is number `limit` since the last end, or a multiple of it."""
    steps = np.arange(len(ends))
    begins = np.concatenate([[True], ends[:-1]])
    began = np.maximum.accumulate(np.where(begins, steps, 0))
    return (steps - began + 1) % limit == 0


def _rows(path: Path, file: h5py.File, key: str, rows: np.ndarray) -> np.ndarray:
    """Some rows, in rising order, without the whole in memory."""
    dataset = number_dataset(path, file, key)
    part = dataset.nbytes // max(1, len(dataset)) * min(ROWS, len(dataset))
    require_memory(f"{path}: {key}", part)
    kept = [dataset[:0]]
    for start in range(0, len(dataset), ROWS):
        inside = rows[(rows >= start) & (rows < start + ROWS)]
        if len(inside):
            kept.append(dataset[start : start + ROWS][inside - start])
    return np.concatenate(kept)


def _most_bytes(piece: EpisodeDataset) -> int:
    """What a piece may take in the file: chunks that gzip cannot shrink, and their index."""
    arrays = [getattr(piece, name) for name in NAMES.values()]
    arrays += [piece.lengths, piece.final_observations]
    return sum(int(1.05 * a.nbytes) for a in arrays if a is not None) + (1 << 19)


def _append(name: str, file: h5py.File, key: str, values: np.ndarray) -> None:
    if key not in file:
        grows = (None, *values.shape[1:])
        file.create_dataset(key, data=values, maxshape=grows, chunks=True, compression="gzip")
        return
    dataset = file[key]
    if dataset.dtype != values.dtype:
        raise ValueError(
            f"{name}: {key} are {dataset.dtype} in some episodes and {values.dtype} in others; "
            f"convert the files one by one"
        )
    dataset.resize(len(dataset) + len(values), axis=0)
    dataset[-len(values) :] = values


def _explain(path: Path, head: bytes) -> str:
    if head != MAGIC:
        return ""
    with open_hdf5(path, names_only=True) as file:
        return (
            f"is HDF5 of no format known here; it holds {names_in(file)}; D4RL's holds "
            f"observations, actions, rewards and terminals"
        )


FORMAT = Format(
    name="d4rl",
    file="D4RL's HDF5",
    is_file=is_d4rl,
    explain=_explain,
    read=read_d4rl,
    suffixes=(".hdf5", ".h5"),
    write=write_d4rl,
)
