"""Read windows of rows, from memory or from a disk that is slower than the model."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock

import numpy as np
from jaxtyping import Shaped
from numpy.typing import DTypeLike

from dt.data.batches.windows import Windows


def read_rows(
    rows: Shaped[np.ndarray, "N W"], windows: Windows, num_steps: int
) -> Shaped[np.ndarray, "B T W"]:
    """Read the windows' rows, each window one copy of memory; padding repeats the last real step.

    Args:
        rows: contiguous, in memory or mapped from a file.
        windows: as `draw_windows` drew them, of up to `num_steps` steps.
    """
    num_rows, width = rows.shape
    if num_rows < num_steps:
        return rows[_indices(windows, num_steps)]
    # Every run of num_steps rows as one overlapping item: picking items is then a plain copy.
    item = np.dtype((np.void, num_steps * width * rows.itemsize))
    runs = np.ndarray((num_rows - num_steps + 1,), item, rows, strides=(rows.strides[0],))
    read = runs[np.minimum(windows.start, num_rows - num_steps)]
    read = read.view(rows.dtype).reshape(-1, num_steps, width)
    short = np.flatnonzero(windows.length < num_steps)  # these ran on into the next episode
    if len(short):
        part = Windows(windows.start[short], windows.length[short], windows.timestep[short])
        read[short] = rows[_indices(part, num_steps)]
    return read


class RowFile:
    """A store's rows or pictures on a disk, for when they do not all fit in memory.

    Mapped pages would be the shorter code, but a full memory gives them back only page by page
    (measured in a quarter of the memory: 180 windows a second mapped, 50 thousand read).
    """

    def __init__(self, path: Path, width: int, dtype: DTypeLike = np.float32):
        self.path, self.width, self.dtype = path, width, np.dtype(dtype)
        self._file = path.open("rb", buffering=0)
        self._reading = Lock()  # of one thread at a time, where no place is part of a read

    def read(self, windows: Windows, num_steps: int) -> Shaped[np.ndarray, "B T W"]:
        """Read what `read_rows` reads, bit for bit.

        All the windows' pages are asked for before the first is waited for: the disk works on
        many at once then (measured: 50 thousand cold windows a second against 12).

        Raises:
            ValueError: when the file is shorter than it was.
        """
        row_bytes = self.dtype.itemsize * self.width
        begins = (windows.start * row_bytes).tolist()
        sizes = (windows.length * row_bytes).tolist()
        descriptor = self._file.fileno()
        if hasattr(os, "posix_fadvise"):  # Linux; elsewhere each read waits for its own pages
            for row in np.argsort(windows.start).tolist():
                os.posix_fadvise(descriptor, begins[row], sizes[row], os.POSIX_FADV_WILLNEED)
        rows = np.empty((len(begins), num_steps, self.width), self.dtype)
        memory, stride = rows.data.cast("B"), num_steps * row_bytes
        for row, (begin, size) in enumerate(zip(begins, sizes, strict=True)):
            into = memory[row * stride : row * stride + size]
            if self._read_into(into, begin) != size:
                raise ValueError(f"{self.path}: ends before byte {begin + size}; it was cut short")
        for row in np.flatnonzero(windows.length < num_steps):
            rows[row, windows.length[row] :] = rows[row, windows.length[row] - 1]
        return rows

    def _read_into(self, into: memoryview, begin: int) -> int | None:
        """Fill the memory with what begins there, and say how many bytes there were."""
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [into], begin)
        with self._reading:  # Windows
            self._file.seek(begin)
            return self._file.readinto(into)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _indices(windows: Windows, num_steps: int) -> np.ndarray:
    step = np.arange(num_steps)
    return windows.start[:, None] + np.minimum(step, windows.length[:, None] - 1)
