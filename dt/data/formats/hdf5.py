"""What lies in an HDF5 file, and how does a damaged one become one line?"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from dt.files import first_line


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open to read; whatever HDF5 raises until it is closed becomes a ValueError."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError) as error:
        if isinstance(error, PermissionError):
            raise
        raise ValueError(
            f"{path}: not a readable HDF5 file ({first_line(error)}); fetch it anew"
        ) from error


def reserve(path: Path, used: int, more: int) -> None:
    """Claim the disk space that an HDF5 file is about to need, beyond what it uses now.

    HDF5 drops data in silence or ends the process where a write finds the disk full; claiming it
    before raises a plain OSError. What a file that is opened after it does not use is given back
    when it is closed. Where the system cannot claim space, the file is written as it is.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, used + more)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise


def read_array(path: Path, file: h5py.File, key: str, in_rows: bool = True) -> np.ndarray:
    """One array of numbers, whole."""
    if not isinstance(file.get(key), h5py.Dataset):
        raise ValueError(f"{path}: has no key {key!r}; it holds {keys_of(file)}")
    shape, dtype = file[key].shape, file[key].dtype
    if dtype.kind not in "biuf" or shape is None or (in_rows and not shape):
        raise ValueError(
            f"{path}: {key} is {dtype} of shape {shape}; it needs numbers, one row a step"
        )
    return np.asarray(file[key][()])


def keys_of(file: h5py.File, most: int = 8) -> str:
    keys = sorted(file)
    more = f", and {len(keys) - most} more" if len(keys) > most else ""
    return (", ".join(keys[:most]) or "nothing") + more


def hdf5_format(path: Path) -> str:
    """Which library wrote the file, told by its keys: minari, d3rlpy or d4rl."""
    with open_hdf5(path) as file:
        keys = set(file)
        if any(re.fullmatch(r"episode_\d+", key) for key in keys):
            return "minari"
        if "discrete_action" in keys or {"columns", "version"} <= keys:
            return "d3rlpy"
        if keys & {"observations", "actions", "rewards", "terminals"}:
            return "d4rl"
        raise ValueError(
            f"{path}: HDF5 of a kind unknown here; it holds {keys_of(file)}; "
            f"Minari's, D4RL's and d3rlpy's are read"
        )
