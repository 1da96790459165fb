"""Logged episodes in many formats: a file each, listed in `FORMATS`.

Another format is one more `Format`, given to `add_format`, or named by an installed package under
the entry point group "dt.formats".
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from dt.data.formats import (
    d3rlpy,
    d4rl,
    dqn_replay,
    kzl,
    lerobot,
    minari,
    npz,
    robomimic,
    table,
)
from dt.data.formats.format import Format
from dt.files import installed_packages

# In the order of asking: the first that recognises a content reads it.
FORMATS = (
    npz.FORMAT,
    lerobot.FORMAT,
    minari.FORMAT,
    minari.HUB,
    robomimic.FORMAT,
    d3rlpy.FORMAT,
    d4rl.FORMAT,
    kzl.FORMAT,
    dqn_replay.FORMAT,
    table.CSV,
    table.PARQUET,
)
ENTRY_POINTS = "dt.formats"

_added: list[Format] = []


def add_format(new: Format) -> None:
    """Read one more format from here on; it is asked after all others.

    Raises:
        ValueError: when a format of that name is there already.
    """
    _check_names((*FORMATS, *_added, new))
    _added.append(new)


def all_formats() -> tuple[Format, ...]:
    """List the formats in the order of asking: `FORMATS`, installed packages', added ones.

    Raises:
        ValueError: when two have one name, or an installed package's cannot be loaded.
    """
    found = (*FORMATS, *_installed(), *_added)
    _check_names(found)
    return found


def _check_names(found: Iterable[Format]) -> None:
    names: set[str] = set()
    for each in found:
        if each.name in names:
            raise ValueError(f"format {each.name!r} is there already; give another name")
        names.add(each.name)


@cache
def _installed() -> tuple[Format, ...]:
    """Load what installed packages bring."""
    found = {}
    for package in installed_packages():
        for entry in package.entry_points.select(group=ENTRY_POINTS):
            where = f"entry point {entry.name!r} of the installed package {package.name}"
            try:
                loaded = entry.load()
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a package is anybody's code
                raise ValueError(
                    f"{where}: the data format cannot be loaded ({error}); upgrade or uninstall it"
                ) from error
            if not isinstance(loaded, Format):
                raise ValueError(
                    f"{where}: {entry.value} is no {Format.__qualname__}; uninstall it"
                )
            found[package.name, entry.name] = loaded  # some folders are listed twice
    return tuple(found.values())
