"""Read HDF5 files; a damaged one becomes an error of one line. Serves the formats in HDF5."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dt.files import first_line

if TYPE_CHECKING:  # imported where a file is opened: most logs are not HDF5
    import h5py

MAGIC = b"\x89HDF\r\n\x1a\n"


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open to read; whatever HDF5 raises until it is closed becomes a ValueError."""
    import h5py

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
    """Read one array of numbers, whole."""
    import h5py

    if not isinstance(file.get(key), h5py.Dataset):
        raise ValueError(f"{path}: has no key {key!r}; it holds {names_in(file)}")
    shape, dtype = file[key].shape, file[key].dtype
    if dtype.kind not in "biuf" or shape is None or (in_rows and not shape):
        raise ValueError(
            f"{path}: {key} is {dtype} of shape {shape}; it needs numbers, one row a step"
        )
    return np.asarray(file[key][()])


def names_in(file: h5py.File, most: int = 8) -> str:
    """List the names at the top of an open file, the first few of them, for an error message."""
    keys = sorted(file)
    more = f", and {len(keys) - most} more" if len(keys) > most else ""
    return (", ".join(keys[:most]) or "nothing") + more


def hdf5_keys(path: Path, head: bytes) -> frozenset[str]:
    """List the names at the top of the file; none where its first bytes are not HDF5's."""
    if head != MAGIC:
        return frozenset()
    with open_hdf5(path) as file:
        return frozenset(file)
