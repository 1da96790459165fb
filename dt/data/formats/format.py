"""Describe a data format: how its content is recognised, read and written."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dt.data.streams import EpisodeSource

HEAD_BYTES = 8  # of a file that a format is shown


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format of logged episodes, held by files, by folders, or by something with an id.

    A module with a `Format` is imported before anything is read, so packages that take long to
    import belong inside its functions.

    Raises:
        ValueError: for a name that could not stand before the colon of `name:path`.
    """

    name: str
    # `read(path, env_id, env_kwargs)`; by keyword `reward` where `takes_reward`, and `columns`,
    # which are `ColumnNames`, where `takes_columns`. It gives an `EpisodeDataset`, or an
    # `EpisodeStream` of what may be larger than memory. `env_id` replaces the environment that the
    # data names, and `env_kwargs` go to `gymnasium.make`. A ValueError names the file, the field
    # and the remedy.
    read: Callable[..., EpisodeSource]
    takes_reward: bool = False  # the log holds several columns that could be its rewards
    takes_columns: bool = False  # it is a table, whose columns may have any names

    # What holds the format, in words for an error message ("an .npz file"); "" if no such does.
    file: str = ""
    folder: str = ""
    id: str = ""
    # Whether the content is of this format; of a file its path and first 8 bytes are given.
    is_file: Callable[[Path, bytes], bool] = lambda path, head: False
    is_folder: Callable[[Path], bool] = lambda folder: False
    is_id: Callable[[str], bool] = lambda text: False
    # Why a file that no format recognised is not of this one, though it looks like it; else "".
    explain: Callable[[Path, bytes], str] = lambda path, head: ""

    # The one path that stands for a data set, whichever of its files is named.
    whole: Callable[[Path], Path] = lambda path: path
    # All files that the episodes are read from: training keeps what was read until one changes.
    files: Callable[[Path], Sequence[Path]] = lambda path: [path]

    # `write(path, source)` makes a file that `read` gives back exactly; a path with one of these
    # endings asks for it.
    suffixes: tuple[str, ...] = ()
    write: Callable[[Path, EpisodeSource], None] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w-]+", self.name):
            raise ValueError(f"format {self.name!r}: the name must be letters, digits, '-' and '_'")
