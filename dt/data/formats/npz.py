"""Read and write flat `.npz` files.

The keys are the arrays that `dt.data.formats.flat` lists; others are left alone.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any

import numpy as np

from dt.data.episodes import EpisodeDataset
from dt.data.formats.flat import ENDS, EXTRAS, STEPS, from_arrays, is_part, to_columns, to_extras
from dt.data.formats.format import Format
from dt.data.formats.names import OTHERS, named
from dt.data.streams import EpisodeSource
from dt.files import first_line, require_memory
from dt.spaces.environments import EnvKwargs
from dt.words import nearest


def is_npz(path: Path) -> bool:
    """Tell whether the content, not the name, is a zip of arrays."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path}: a damaged zip file ({error})") from error


def read_npz(
    path: Path, env_id: str | None = None, env_kwargs: EnvKwargs | None = None
) -> EpisodeDataset:
    """Read the file whole; `env_id` overrides the file's own.

    Raises:
        ValueError: naming the file and the key that is missing or does not fit.
    """
    arrays: dict[str, np.ndarray] = {}
    at = ""
    check_arrays(str(path), path, _is_read)
    try:
        with np.load(path, allow_pickle=False) as archive:
            held = set(archive.files)
            for key in archive.files:
                if _is_read(key):
                    at = f"{key}: "
                    arrays[key] = archive[key]
    except Exception as error:  # a damaged file can break NumPy's reader in many ways
        raise ValueError(
            f"{path}: not a readable npz of plain arrays ({at}{first_line(error)}); save it anew, "
            f"with numbers alone"
        ) from error
    needed = ("observations", "actions", *(["rewards"] if nearest("rewards", held) else []))
    for key in needed:
        if key not in named(held) and not any(part.startswith(f"{key}/") for part in held):
            raise ValueError(f"{path}: has no key {key!r}; it holds {', '.join(sorted(held))}")
    return from_arrays(str(path), arrays, env_id, env_kwargs)


def check_arrays(
    path: str, file: Path | BufferedIOBase, is_read: Callable[[str], bool] = lambda name: True
) -> None:
    """Hold what the arrays of an npz declare against the bytes that it holds, before they are read.

    Names are those of arrays and never of files: nothing is unpacked. A name that is there twice
    would be read otherwise by another program.

    Args:
        path: names the file in an error.
        is_read: tells whether the array of a name will be read.

    Raises:
        ValueError: naming the file and the array.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            seen: set[str] = set()
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name in seen:
                    raise ValueError(f"{path}: holds {name!r} twice; save it anew")
                seen.add(name)
                if member.filename.endswith(".npy") and is_read(name):
                    _check_size(path, name, archive, member)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error) as error:
        raise ValueError(
            f"{path}: not a readable npz of plain arrays ({first_line(error)}); save it anew, "
            f"with numbers alone"
        ) from error


def _check_size(path: str, name: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    with archive.open(member) as content:
        check_array(path, name, content, member.file_size)


def check_array(path: str, name: str, content: IO[bytes] | BufferedIOBase, size: int) -> None:
    """Hold what an array declares, that `np.save` wrote here, against the bytes from here on.

    Args:
        path, name: of the file and of the array, for errors.

    Raises:
        ValueError: naming both.
    """
    begin = content.tell()
    try:
        version = np.lib.format.read_magic(content)
        read = np.lib.format.read_array_header_1_0
        shape, _, dtype = (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(
            content
        )
    except Exception as error:  # NumPy parses the header as Python's words
        raise ValueError(
            f"{path}: not a readable npz of plain arrays ({name}: {first_line(error)}); save it "
            f"anew, with numbers alone"
        ) from error
    held = size - (content.tell() - begin)
    size = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and (size > held or min(shape, default=0) < 0):
        raise ValueError(
            f"{path}: {name} declares {shape} values of {dtype}, and the file holds "
            f"{held} bytes of them; save it anew"
        )
    require_memory(f"{path}: {name}", size)


def _is_read(name: str) -> bool:
    return name in (*STEPS, *ENDS, *EXTRAS, *OTHERS) or is_part(name)


def write_npz(path: Path, source: EpisodeSource) -> None:
    """Write all of the source; a stream is held in memory for it."""
    dataset = source if isinstance(source, EpisodeDataset) else source.load()
    arrays: dict[str, Any] = to_columns(dataset)
    arrays |= {"episode_lengths": dataset.lengths, **to_extras(dataset)}
    with path.open("wb") as file:  # given a name, NumPy would add .npz to it
        np.savez_compressed(file, **arrays)


FORMAT = Format(
    name="npz",
    file="an .npz file",
    is_file=lambda path, head: is_npz(path),
    read=read_npz,
    suffixes=(".npz",),
    write=write_npz,
)
