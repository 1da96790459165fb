"""Rewrite a data set in another format, exactly, and all of it or nothing.

The name of the output says its format: NAME.npz, NAME.hdf5 (D4RL's) or another ending that a
`Format` has, or a Minari id such as NAME-v0 for Minari's own folder; ./NAME-v0 or another path for
a folder elsewhere. What comes back from reading it equals what was read from the source: values and
types of observations, actions, rewards, ends and lengths, spaces, environment and reference scores.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from dt.data.formats import all_formats
from dt.data.formats.frames import USUAL, ColumnNames
from dt.data.formats.minari import dataset_path, is_minari_id
from dt.data.formats.sources import open_source
from dt.files import first_line
from dt.spaces.environments import EnvKwargs


def convert(
    source: str,
    out: str | Path,
    env_id: str | None = None,
    env_kwargs: EnvKwargs | None = None,
    reward: str = "",
    columns: ColumnNames = USUAL,
) -> Path:
    """Write the source as `out` and return where it is.

    What may be larger than memory is written piece by piece, except as .npz.

    Args:
        env_id, env_kwargs, reward, columns: as for `open_source`.

    Raises:
        ValueError: when the source cannot be read, the name of `out` says no format, or something
            is there already. Whatever goes wrong, nothing is left behind.
    """
    name, path = str(out), Path(os.path.expanduser(out))
    written = [each for each in all_formats() if each.write is not None]
    write = next((each.write for each in written if path.suffix in each.suffixes), None)
    if write is not None:
        _check_free(path)
        opened = open_source(source, env_id, env_kwargs, reward, columns)
        with _replacing(path) as part:
            write(part, opened)
            part.rename(path)
        return path
    from dt.data.formats.minari_writing import place_minari, write_minari

    elsewhere = name.startswith((".", "/", "~"))
    if not is_minari_id(path.name if elsewhere else name):
        endings = ", ".join(f"{each.suffixes[0]} ({each.name})" for each in written)
        raise ValueError(f"{name}: says no format; end it in {endings} or, for Minari, in -v0")
    target = path if elsewhere else dataset_path(name)
    if elsewhere:
        _check_free(target)
    elif target.exists():
        raise ValueError(f"{name}: is a Minari data set already; remove it, or give another name")
    opened = open_source(source, env_id, env_kwargs, reward, columns)
    # Within Minari's folder hidden names are no data sets; a namespace is made at the very end.
    with _replacing(target if elsewhere else dataset_path() / target.name) as part:
        write_minari(part, target.name if elsewhere else name, opened)
        if elsewhere:
            part.rename(target)
        else:
            place_minari(part, name)
    return target


def _check_free(path: Path) -> None:
    if path.exists():
        raise ValueError(f"{path}: is there already; remove it, or give another name")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}; make it first")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A hidden name beside `path` to write to; what is still there afterwards is removed."""
    part = path.with_name(f".{path.name}.{os.getpid()}.partial")
    for other in path.parent.iterdir():
        match = re.fullmatch(rf"\.{re.escape(path.name)}\.(\d+)\.partial", other.name)
        if match and not psutil.pid_exists(int(match[1])):
            _remove(other)  # of a conversion that was killed
    try:
        yield part
    except (OSError, RuntimeError) as error:  # HDF5 raises either when a disk is full
        raise ValueError(f"{path}: cannot be written ({first_line(error)})") from error
    finally:
        _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
