"""Pack stacks of frames into no more room than their frames take, whole steps together.

A stack of 4 frames repeats 3 of the step before, 21 kB back where frames are 84x84: within the
32 kB that deflate looks back over. Packed step by step in this order, every frame is therefore kept
once, and Atari's few colours shrink that again. HDF5 unpacks by itself, for any reader.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import h5py
import numpy as np

from dt.files import free_memory, written_whole

LEVEL = 1  # of deflate: higher ones take several times as long and save little
CHUNK_BYTES = 1 << 20  # what a reader of a single step has to unpack
_ZLIB = b"\x78"  # how its streams begin, and no array that NumPy writes does


def is_image_like(values: np.ndarray | h5py.Dataset) -> bool:
    """Tell whether a step of these values is bytes in two axes or more."""
    return values.dtype == np.uint8 and len(values.shape) >= 3


def packed(payload: bytes | memoryview) -> bytes:
    """Pack bytes so that `unpacked` gives them back."""
    return zlib.compress(payload, LEVEL)


def unpacked(payload: bytes) -> bytes:
    """Give back what was packed; what was not, as it is."""
    if payload[:1] != _ZLIB:
        return payload
    packer = zlib.decompressobj()
    whole = packer.decompress(payload, free_memory() // 2)
    if not packer.eof:
        raise ValueError("it is cut short, or unpacks to more than half of the free memory")
    return whole


def pack_file(path: Path) -> None:
    """Pack all images of an HDF5 file. It is replaced when the packed one is whole."""
    with written_whole(path) as beside:
        with h5py.File(path, "r") as source, h5py.File(beside, "w", track_order=True) as target:
            _copy(source, target)


def _copy(source: h5py.Group, target: h5py.Group) -> None:
    for name, value in source.attrs.items():
        target.attrs[name] = value
    for name, item in source.items():
        if isinstance(item, h5py.Group):
            _copy(item, target.create_group(name, track_order=True))
        elif is_image_like(item) and len(item):
            step = item.dtype.itemsize * int(np.prod(item.shape[1:]))
            steps = min(len(item), max(1, CHUNK_BYTES // step))
            place = target.create_dataset(
                name,
                item.shape,
                item.dtype,
                chunks=(steps, *item.shape[1:]),
                maxshape=item.maxshape,
                compression="gzip",
                compression_opts=LEVEL,
            )
            for begin in range(0, len(item), steps):
                place[begin : begin + steps] = item[begin : begin + steps]
            for key, value in item.attrs.items():
                place.attrs[key] = value
        else:
            source.copy(item, target, name)
