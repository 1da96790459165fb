"""The journal: a log of finished episodes that survives kill -9 at any byte."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from dt.collect.packing import is_image_like, packed, unpacked
from dt.data.episodes import Episode, check_shapes, step_shapes
from dt.data.formats.npz import check_array
from dt.files import locked, reading

# Of each record: the episode's number, the bytes that follow, and the checksum of both.
_HEADER = struct.Struct("<QQI")
_FIELDS = ("observations", "actions", "rewards", "terminations", "truncations")


class Journal:
    """An append-only file of numbered episodes, open in one process at a time.

    Opening it reads it once: a record that was cut short, and whatever lies behind it, is
    removed. What was appended before a kill is there; what a power failure takes is noticed.
    """

    def __init__(self, path: Path):
        """
        Raises:
            ValueError: when another process has it open, and for a record that is whole but
                holds no episode.
        """
        self.path = path
        self._held = ExitStack()
        try:
            # Not the log's own: Windows keeps a locked file from being read, too.
            self._held.enter_context(locked(path.with_name(f"{path.name}.lock")))
        except BlockingIOError as error:
            raise ValueError(f"{path}: another process is collecting into it") from error
        self._file = self._held.enter_context(path.open("a+b"))
        self.num_steps = 0
        self._places: dict[int, int] = {}  # an episode's number -> where its record begins
        try:
            self._recover()
        except BaseException:
            self.close()
            raise

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def __len__(self) -> int:
        return len(self._places)

    def append(self, number: int, episode: Episode) -> None:
        """Keep an episode; when this returns, killing the process does not lose it."""
        content = io.BytesIO()
        for name in _FIELDS:
            np.lib.format.write_array(content, getattr(episode, name), allow_pickle=False)
        # A copy: where an interrupt falls here, its traceback keeps a view of the buffer in a
        # circle that CPython 3.12 takes apart in the wrong order when it exits, and crashes.
        payload = content.getvalue()
        if is_image_like(np.asarray(episode.observations)):
            payload = packed(payload)
        place = self._file.seek(0, os.SEEK_END)
        self._file.write(_HEADER.pack(number, len(payload), _checksum(number, payload)))
        self._file.write(payload)
        self._file.flush()
        self._places[number] = place
        self.num_steps += len(episode)

    def __getitem__(self, number: int) -> Episode:
        self._file.seek(self._places[number])
        record = self._read()
        assert record is not None and record[0] == number, "the log was changed while it was open"
        return record[1]

    def close(self) -> None:
        self._held.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _recover(self) -> None:
        sound = 0
        for place, (number, episode) in self._records():
            self._places[number] = place
            self.num_steps += len(episode)
            sound = self._file.tell()
        self._file.truncate(sound)

    def _records(self) -> Iterator[tuple[int, tuple[int, Episode]]]:
        place = self._file.seek(0)
        while (record := self._read()) is not None:
            yield place, record
            place = self._file.tell()

    def _read(self) -> tuple[int, Episode] | None:
        """Read the record that begins here; None when it is not whole."""
        header = self._file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return None
        number, size, checksum = _HEADER.unpack(header)
        if size > os.fstat(self._file.fileno()).st_size:
            return None
        payload = self._file.read(size)
        if len(payload) < size or _checksum(number, payload) != checksum:
            return None
        return number, self._episode(number, payload)

    def _episode(self, number: int, payload: bytes) -> Episode:
        """Read what a record holds whose checksum is right."""
        arrays = []
        with reading(self.path, f"remove {self.path.parent} to start over"):
            whole = unpacked(payload)
            content = io.BytesIO(whole)
            for name in _FIELDS:
                place = content.tell()
                what = f"{name} of episode {number}"
                check_array(str(self.path), what, content, len(whole) - place)
                content.seek(place)
                arrays.append(np.lib.format.read_array(content, allow_pickle=False))
            episode = Episode(*arrays)
            check_shapes(str(self.path), number, episode, step_shapes(episode))
        return episode


def _checksum(number: int, payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, number & 0xFFFFFFFF)
