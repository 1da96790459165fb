"""Read tables with a row a step: CSV and Parquet files.

Columns are found by their names, as `dt.data.formats.frames` says: `episode` or done flags,
`reward`, and every column that begins with `obs`, `observation` or `state`, or with `action`.
`ColumnNames` name others, and so do arguments of `dt.from_frame`. A cell of Parquet may hold a list
of numbers.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dt.data.episodes import EpisodeDataset
from dt.data.formats.format import Format
from dt.data.formats.frames import USUAL, ColumnNames, from_frame
from dt.files import first_line, require_memory
from dt.spaces.environments import EnvKwargs

if TYPE_CHECKING:
    import pyarrow

WORDS = {"true": True, "false": False, "True": True, "False": False, "TRUE": True, "FALSE": False}
BYTES_A_CELL = 100  # of a text in Python
PARQUET_HEAD = b"PAR1"


@dataclass(frozen=True)
class Table:
    """Columns by name."""

    values: dict[str, np.ndarray]

    @property
    def columns(self) -> Iterable[str]:
        return self.values.keys()

    def __getitem__(self, key: str) -> np.ndarray:
        return self.values[key]


def read_csv(
    path: Path,
    env_id: str | None = None,
    env_kwargs: EnvKwargs | None = None,
    columns: ColumnNames = USUAL,
) -> EpisodeDataset:
    """Read a file of comma-separated values whose first line names the columns.

    Raises:
        ValueError: naming the file, and the line or column that does not fit.
    """
    cells = csv_columns(path).items()
    table = {name: _column(path, name, texts) for name, texts in cells}
    return _episodes(path, table, columns, env_id, env_kwargs)


def csv_columns(path: Path) -> dict[str, tuple[str, ...]]:
    """Read the cells of a CSV file as they are, by the names in its first line.

    Raises:
        ValueError: naming the file, and the line that does not fit.
    """
    require_memory(str(path), BYTES_A_CELL * path.stat().st_size // 4)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            names = next(lines, [])
            _check_names(path, names)
            cells: list[list[str]] = []
            for row in lines:
                if not row:
                    continue
                if len(row) != len(names):
                    raise ValueError(
                        f"{path}: line {lines.line_num} has {len(row)} cells, the first line names "
                        f"{len(names)}; mend that line"
                    )
                cells.append(row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a readable CSV file ({first_line(error)})") from error
    columns: Iterable[tuple[str, ...]]
    columns = zip(*cells, strict=True) if cells else [()] * len(names)
    return dict(zip(names, columns, strict=True))


def read_parquet(
    path: Path,
    env_id: str | None = None,
    env_kwargs: EnvKwargs | None = None,
    columns: ColumnNames = USUAL,
) -> EpisodeDataset:
    """Read a Parquet file whole.

    Raises:
        ValueError: naming the file and the column, and where pyarrow is not installed.
    """
    import pyarrow as pa

    table = parquet_table(path)
    if {"frame_index", "task_index"} <= {*table.column_names}:
        raise ValueError(f"{path}: is a part of a data set; give LeRobot's folder that holds meta/")
    found = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count:
            raise ValueError(
                f"{path}: column {name!r} has {column.null_count} empty cells; fill or remove them"
            )
        nested = pa.types.is_nested(column.type)
        values = column.to_pylist() if nested else column.to_numpy()
        found[name] = _cells(path, name, values) if nested else np.asarray(values)
    return _episodes(path, found, columns, env_id, env_kwargs)


def _episodes(
    path: Path,
    values: dict[str, np.ndarray],
    columns: ColumnNames,
    env_id: str | None,
    env_kwargs: EnvKwargs | None,
) -> EpisodeDataset:
    named = {name: chosen for name, chosen in asdict(columns).items() if chosen}
    return from_frame(Table(values), name=str(path), env_id=env_id, env_kwargs=env_kwargs, **named)


def parquet_table(path: Path) -> pyarrow.Table:
    """Read the columns of a Parquet file.

    Raises:
        ValueError: naming the file, and where pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise ValueError(f"{path}: Parquet needs pyarrow; pip install 'dt-steer[lerobot]'")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
            declared = sum(group.total_byte_size for group in groups)
            # Of one value a billion times a page has a few bytes: rows count by what they become.
            widths = sum(_width(column.physical_type) for column in file.schema)
            require_memory(str(path), max(declared, file.metadata.num_rows * widths))
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a readable Parquet file ({first_line(error)})") from error
    _check_names(path, table.column_names)
    return table


def _width(kind: str) -> int:
    """The least bytes that a value of one of Parquet's types takes."""
    return {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT96": 8}.get(kind, 8)


def _check_names(path: Path, names: list[str]) -> None:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"{path}: has two columns {twice!r}; rename one")


def _column(path: Path, name: str, texts: tuple[str, ...]) -> np.ndarray:
    """Cells as the narrowest of whole numbers, numbers, flags and texts that holds all of them."""
    if texts and all(text in WORDS for text in texts):
        return np.array([WORDS[text] for text in texts])
    for kind in (np.int64, np.float64):
        try:
            return np.array(texts, dtype=str).astype(kind)
        except (ValueError, OverflowError):
            continue
    if "" in texts:
        raise ValueError(
            f"{path}: column {name!r} is empty in row {texts.index('') + 1}; fill or remove it"
        )
    return np.array(texts)


def _cells(path: Path, name: str, values: list[object]) -> np.ndarray:
    try:
        return np.array(values)
    except ValueError:
        raise ValueError(
            f"{path}: column {name!r} holds lists of unequal lengths; give vectors of one length"
        ) from None


def is_csv(path: Path, head: bytes) -> bool:
    """Tell by the name, for the content has no mark of its own."""
    return path.suffix.lower() == ".csv" and b"\0" not in head


CSV = Format(
    name="csv",
    file="a .csv table with a row a step",
    is_file=is_csv,
    read=read_csv,
    takes_columns=True,
)
PARQUET = Format(
    name="parquet",
    file="a Parquet table with a row a step",
    is_file=lambda path, head: head.startswith(PARQUET_HEAD),
    read=read_parquet,
    takes_columns=True,
)
