"""Count what texts and vectors of any length in an HDF5 file take, before one of them is read.

Each stands in the data set as a length and a place elsewhere in the file. Many may name one place,
and compressed they take next to nothing: a file of kilobytes would fill any memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import h5py

DEFLATE = 1  # HDF5's number of the filter; most others it does not allow for such values


def bytes_of_any_length(file: h5py.File, dataset: h5py.h5d.DatasetID) -> int:
    """Add up the bytes that all values of a data set lead to; 0 where values have one size.

    Raises:
        ValueError: for values of any length within others, and for compression that is not
            looked into.
    """
    from h5py import h5t

    kind = dataset.get_type()
    if not _leads_elsewhere(kind):
        return 0
    if isinstance(kind, h5t.TypeVlenID):
        inner = kind.get_super()
        if _leads_elsewhere(inner):
            raise ValueError("holds vectors of vectors of any length, which are not read")
        unit = inner.get_size()
    elif isinstance(kind, h5t.TypeStringID):
        unit = 1
    else:
        raise ValueError("holds texts or vectors of any length within records, which are not read")
    size_of_address = file.id.get_create_plist().get_sizes()[0]
    width = 4 + size_of_address + 4  # a length, a heap's address and a number in it
    lengths = sum(
        int(np.frombuffer(piece, np.uint8).reshape(-1, width)[:, :4].copy().view("<u4").sum())
        for piece in _pieces(file, dataset, width)
    )
    return lengths * unit


def _leads_elsewhere(kind: h5py.h5t.TypeID) -> bool:
    from h5py import h5t

    if isinstance(kind, h5t.TypeStringID):
        return bool(kind.is_variable_str())
    if isinstance(kind, h5t.TypeCompoundID):
        return any(_leads_elsewhere(kind.get_member_type(i)) for i in range(kind.get_nmembers()))
    if isinstance(kind, h5t.TypeArrayID):
        return _leads_elsewhere(kind.get_super())
    return isinstance(kind, h5t.TypeVlenID)


def _pieces(file: h5py.File, dataset: h5py.h5d.DatasetID, width: int) -> Iterator[bytes]:
    """The bytes of a data set as they stand in the file, after compression is undone."""
    from h5py import h5d

    made = dataset.get_create_plist()
    count = int(np.prod(dataset.shape, dtype=np.int64)) if dataset.shape is not None else 0
    if made.get_layout() == h5d.COMPACT:
        if count > 1:
            raise ValueError("holds values of any length within its header, which are not read")
        return
    if made.get_layout() == h5d.CONTIGUOUS:
        offset = dataset.get_offset()
        if offset is not None and count:
            with open(file.filename, "rb") as raw:
                raw.seek(offset)
                yield raw.read(count * width)
        return
    filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
    if filters not in ([], [DEFLATE]):
        raise ValueError("holds values of any length, compressed in a way that is not looked into")
    size = int(np.prod(made.get_chunk(), dtype=np.int64)) * width
    for number in range(dataset.get_num_chunks()):
        place = dataset.get_chunk_info(number).chunk_offset
        mask, content = dataset.read_direct_chunk(place)
        if filters and not mask & 1:
            try:
                content = zlib.decompressobj().decompress(content, size)
            except zlib.error as error:
                raise ValueError(f"is compressed, and damaged ({error})") from error
        yield content
