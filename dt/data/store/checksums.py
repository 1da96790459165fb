"""Keep a checksum of every block of a file, and find the first block that is damaged."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

BLOCK = 4 << 20  # bytes under one checksum


@contextmanager
def write_blocks(
    path: Path, checksums: dict[str, list[int]]
) -> Iterator[Callable[[np.ndarray], None]]:
    """Open a file to write arrays to; the checksum of each of its blocks is kept as it grows.

    Args:
        checksums: by file name; those of this one are added.
    """
    sums = checksums.setdefault(path.name, [])
    open_block, filled = 0, 0
    with path.open("wb") as file:

        def write(array: np.ndarray) -> None:
            nonlocal open_block, filled
            view = array.data.cast("B")
            file.write(view)
            while len(view):
                part = view[: BLOCK - filled]
                open_block = zlib.crc32(part, open_block)
                filled += len(part)
                view = view[len(part) :]
                if filled == BLOCK:
                    sums.append(open_block)
                    open_block, filled = 0, 0

        yield write
        if filled:
            sums.append(open_block)
        file.flush()
        os.fsync(file.fileno())


def checksums_of(path: Path) -> list[int]:
    """Compute the checksum of each block of a file; none of one that is not there."""
    found: list[int] = []
    if path.exists():
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                found.append(zlib.crc32(block))
    return found


def first_damage(path: Path, expected: list[int]) -> int | None:
    """Find the byte where the first block begins that is not as it was written, if there is one."""
    found = checksums_of(path)
    for number in range(max(len(expected), len(found))):
        if expected[number : number + 1] != found[number : number + 1]:
            return number * BLOCK
    return None
