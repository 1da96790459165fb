"""Columns of a file of posts by name: CSV, JSON lines, a JSON list, Parquet; packed by gzip too."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from dt.data.formats.table import PARQUET_HEAD, csv_columns, parquet_table
from dt.files import MOST_JSON, first_line, require_memory, shown
from dt.text.data.posts import quoted
from dt.words import there_are

Cell: TypeAlias = object  # text, number, None, or what else JSON can hold


@dataclass(frozen=True)
class Columns:
    """R rows; of each column its cells."""

    path: Path
    cells: dict[str, Sequence[Cell]]

    def texts(self, name: str, flag: str) -> tuple[str, ...]:
        """Take a column of texts; numbers are spelled, and what is missing is empty.

        Args:
            flag: which names the column, for errors.

        Raises:
            ValueError: where there is no such column.
        """
        return tuple("" if cell is None else str(cell) for cell in self._named(name, flag))

    def numbers(self, name: str, flag: str) -> Float[np.ndarray, " R"]:
        """Take a column of numbers.

        Raises:
            ValueError: where there is no such column, or naming the row of what is no number.
        """
        found = np.empty(len(self))
        for row, cell in enumerate(self._named(name, flag)):
            number = _number(cell)
            if number is None:
                what = "empty" if cell in (None, "") else f"{quoted(str(cell))}, which is no number"
                raise ValueError(
                    f"{self.path}: row {row + 1}: {flag} {name!r} is {what}; mend or remove that "
                    f"row, or name another column"
                )
            found[row] = number
        return found

    def rows(self, kept: Iterable[int]) -> Columns:
        """Take some rows."""
        kept = list(kept)
        cells: dict[str, Sequence[Cell]]
        cells = {name: [column[row] for row in kept] for name, column in self.cells.items()}
        return Columns(self.path, cells)

    def __len__(self) -> int:
        return len(next(iter(self.cells.values()), ()))

    def __contains__(self, name: str) -> bool:
        return name in self.cells

    def _named(self, name: str, flag: str) -> Sequence[Cell]:
        if name not in self.cells:
            raise ValueError(
                shown(f"{self.path}: has no column {name!r} for {flag}; ")
                + shown(there_are(name, self.cells))
            )
        return self.cells[name]


def read_columns(path: Path) -> Columns:
    """Read a file of posts.

    Raises:
        ValueError: naming the file, and the line that does not fit.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    if head == PARQUET_HEAD:
        table = parquet_table(path)
        return Columns(path, {name: table[name].to_pylist() for name in table.column_names})
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if ".csv" in suffixes and not head.startswith(b"\x1f\x8b"):
        return Columns(path, dict(csv_columns(path)))
    if not {".json", ".jsonl", ".ndjson"} & set(suffixes):
        raise ValueError(
            f"{path}: is no file of posts that is known by its name; give .csv, .jsonl, .json, "
            f".jsonl.gz or .parquet"
        )
    return _of_json(path, _unpacked(path))


def _unpacked(path: Path) -> str:
    require_memory(str(path), 4 * path.stat().st_size)
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        opened = gzip.open(path, "rb") if packed else path.open("rb")
        with opened as stream:
            content = stream.read(MOST_JSON + 1)
        if len(content) > MOST_JSON:
            raise ValueError(
                f"{path}: holds more than {MOST_JSON >> 20} MiB of JSON; give it as Parquet"
            )
        return content.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({shown(first_line(error))})") from None


def _of_json(path: Path, content: str) -> Columns:
    rows: list[dict[str, Cell]] = []
    places: Iterable[tuple[str, object]]
    if content.lstrip().startswith("["):
        try:
            whole = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: is no JSON ({shown(first_line(error))})") from None
        places = ((f"item {number}", row) for number, row in enumerate(whole, 1))
    else:
        places = _lines(path, content)
    for place, row in places:
        if not isinstance(row, dict):
            raise ValueError(f"{path}: {place} is no object with fields by name; mend it")
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return Columns(path, {name: [row.get(name) for row in rows] for name in names})


def _lines(path: Path, content: str) -> Iterable[tuple[str, object]]:
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except (ValueError, RecursionError) as error:
                reason = shown(first_line(error))
                raise ValueError(f"{path}: line {number} is no JSON ({reason})") from None


def _number(cell: Cell) -> float | None:
    """Read a number; None for what is none, NaN and infinity among it."""
    if isinstance(cell, bool):
        return float(cell)
    if not isinstance(cell, (int, float, str)):
        return cell.timestamp() if hasattr(cell, "timestamp") else None
    try:
        number = float(cell)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
