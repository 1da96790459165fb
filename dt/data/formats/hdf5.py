"""Read HDF5 files; a damaged one becomes an error of one line. Serves the formats in HDF5.

What a file opened here gives is in the file. HDF5 can send a reader on to other files (external
links, external storage, virtual data sets), and fills with zeros what was never written; a file
that does either is refused.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dt.data.formats.hdf5_guard import require_walkable
from dt.files import first_line, require_memory

if TYPE_CHECKING:  # imported where a file is opened: most logs are not HDF5
    import h5py

MAGIC = b"\x89HDF\r\n\x1a\n"


@contextmanager
def open_hdf5(path: Path, names_only: bool = False) -> Iterator[h5py.File]:
    """Open to read; whatever HDF5 raises until it is closed becomes a ValueError.

    Args:
        names_only: that nothing but names is read, so that where they lead need not be looked at.

    Raises:
        ValueError: naming the file, and the member that leads to another file.
    """
    import h5py

    try:
        with path.open("rb"):
            pass  # who may not read it is told so by the system
        require_walkable(path)
        with h5py.File(path, "r") as file:
            if not names_only:
                _refuse_other_files(path, file)
            yield file
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        # All of them are HDF5's, but for what was refused here, which names the file.
        if isinstance(error, PermissionError) or str(path) in str(error):
            raise
        raise ValueError(
            f"{path}: not a readable HDF5 file ({first_line(error)}); fetch it anew"
        ) from error


def datasets_in(file: h5py.File) -> Iterator[tuple[str, h5py.h5d.DatasetID]]:
    """List the data sets of a file, each once, by the name that was found first."""
    from h5py import h5d, h5o

    names: list[bytes] = []

    def see(name: bytes, info: h5o.ObjInfo) -> None:
        if info.type == h5o.TYPE_DATASET:
            names.append(name)

    h5o.visit(file.id, see, info=True)
    for name in names:
        yield name.decode(errors="replace"), h5d.open(file.id, name)


def _refuse_other_files(path: Path, file: h5py.File) -> None:
    """Look at every link and data set; links within the file lead only to those."""
    from h5py import h5d, h5l

    found: list[str] = []

    def see_link(name: bytes, info: h5l.LinkInfo) -> None:
        if info.type not in (h5l.TYPE_HARD, h5l.TYPE_SOFT):
            found.append(f"{name.decode(errors='replace')} is a link to another file")

    file.id.links.visit(see_link, info=True)
    for name, dataset in datasets_in(file):
        made = dataset.get_create_plist()
        if made.get_layout() == h5d.VIRTUAL:
            found.append(f"{name} is a virtual data set, of other files")
        elif made.get_external_count():
            found.append(f"{name} is stored in another file")
    if found:
        raise ValueError(f"{path}: {found[0]}, which is not read; copy the data into one file")


def require_stored(path: Path, name: str, dataset: h5py.h5d.DatasetID) -> int:
    """Hold what a data set declares against what the file holds of it.

    Returns:
        The bytes that reading it whole takes.

    Raises:
        ValueError: naming the file and the data set, of which a part was never written.
    """
    from h5py import h5d

    if dataset.shape is None:
        return 0
    unit = dataset.get_type().get_size()
    size = math.prod(dataset.shape) * unit
    made = dataset.get_create_plist()
    if made.get_layout() == h5d.CHUNKED:
        chunk = made.get_chunk()
        pieces = math.prod(-(-n // per) for n, per in zip(dataset.shape, chunk, strict=True))
        held = dataset.get_num_chunks()
        whole = held == pieces
        require_memory(f"{path}: {name}", math.prod(chunk) * unit if held else 0)
    else:
        whole = dataset.get_storage_size() >= size
    if not whole:
        raise ValueError(
            f"{path}: {name} declares {dataset.shape} values, and the file does not hold them all; "
            f"write it whole, or fetch it anew"
        )
    return size


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


def number_dataset(path: Path, file: h5py.File, key: str, in_rows: bool = True) -> h5py.Dataset:
    """Find a data set of numbers that the file holds whole.

    Raises:
        ValueError: naming the file and the key that is missing, no numbers, or only declared.
    """
    import h5py

    dataset = file.get(key)
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{path}: has no key {key!r}; it holds {names_in(file)}")
    shape, dtype = dataset.shape, dataset.dtype
    if dtype.kind not in "biuf" or shape is None or (in_rows and not shape):
        raise ValueError(
            f"{path}: {key} is {dtype} of shape {shape}; it needs numbers, one row a step"
        )
    require_stored(path, key, dataset.id)
    return dataset


def read_array(path: Path, file: h5py.File, key: str, in_rows: bool = True) -> np.ndarray:
    """Read one array of numbers, whole."""
    dataset = number_dataset(path, file, key, in_rows)
    require_memory(f"{path}: {key}", dataset.nbytes)
    return np.asarray(dataset[()])


def read_value(path: Path, file: h5py.File, key: str) -> np.ndarray:
    """Read one array of numbers, or one text."""
    import h5py

    dataset = file.get(key)
    text = isinstance(dataset, h5py.Dataset) and dataset.dtype.kind in "OSU" and dataset.size == 1
    return np.asarray(dataset[()]) if text else read_array(path, file, key, in_rows=False)


def names_in(file: h5py.File, most: int = 8) -> str:
    """List the names at the top of an open file, the first few of them, for an error message."""
    keys = sorted(map(_text, file))
    more = f", and {len(keys) - most} more" if len(keys) > most else ""
    return (", ".join(keys[:most]) or "nothing") + more


def hdf5_keys(path: Path, head: bytes) -> frozenset[str]:
    """List the names at the top of the file; none where its first bytes are not HDF5's."""
    if head != MAGIC:
        return frozenset()
    with open_hdf5(path, names_only=True) as file:
        return frozenset(map(_text, file))


def _text(name: str | bytes) -> str:
    """h5py gives a name that is no UTF-8 as bytes."""
    return name if isinstance(name, str) else name.decode(errors="replace")
