"""A pickle's arrays are made of checked bytes, and nothing that it says is run or believed."""

from __future__ import annotations

import io
import pickle
import pickletools
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from dt.data.formats.kzl import read_kzl
from dt.data.formats.plain_pickle import RefusedPickle, UnreadArray, load_plain


def load(content: bytes) -> object:
    return load_plain(io.BytesIO(content))


def name(module: str, attribute: str) -> bytes:
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def scalar(kind: str, content: str, state: bytes = b"") -> bytes:
    """A number of this type whose bytes these are, in a list."""
    dtype = name("numpy", "dtype") + text(kind) + b"\x89\x88\x87R" + state
    raw = name("_codecs", "encode") + text(content) + text("latin1") + b"\x86R"
    return b"\x80\x02]" + name("numpy.core.multiarray", "scalar") + dtype + raw + b"\x86Ra."


# A type of objects whose state denies that it holds any: NumPy would take bytes for an address.
DENIES = b"(K\x03" + text("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def test_a_type_s_pickled_state_turns_no_bytes_into_an_address(tmp_path: Path) -> None:
    content = scalar("O8", "AAAAAAAA", DENIES)
    pickletools.dis(content, out=io.StringIO())  # it is a pickle
    assert load(content) == [UnreadArray("object")]
    path = tmp_path / "pointer.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"pointer\.pkl: holds a list; it needs a list of dicts"):
        read_kzl(path)


@pytest.mark.parametrize("kind", ["O8", "V8", "U2", "S8", "M8", "m8", "f16", "c16", "f8,f8", "f3"])
def test_no_type_but_plain_numbers_makes_an_array(kind: str) -> None:
    assert isinstance(load(scalar(kind, "AAAAAAAA"))[0], UnreadArray)  # type: ignore[index]


@pytest.mark.parametrize("dtype", [">f8", "<i4", ">u2", "f4", "?", "i1", "f2"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_arrays_come_back_as_they_were(dtype: str, protocol: int) -> None:
    rows = (np.arange(24).reshape(2, 3, 4) % 5).astype(dtype)
    for values in (rows, np.asfortranarray(rows), rows.transpose(1, 2, 0), rows[:, :0], rows[0, 0]):
        loaded = load(pickle.dumps([{"rewards": values}, {"rewards": values}], protocol))
        for entry in loaded:  # type: ignore[attr-defined]
            np.testing.assert_array_equal(entry["rewards"], values)
            assert entry["rewards"].dtype.newbyteorder("=") == values.dtype.newbyteorder("=")
    assert load(pickle.dumps([rows.reshape(-1)[1]], protocol)) == [rows.reshape(-1)[1]]


def test_a_boolean_is_true_or_false_whatever_its_byte() -> None:
    (value,) = load(scalar("b1", "\x07"))  # type: ignore[misc]
    assert value.view(np.uint8) == 1


@pytest.mark.parametrize("protocol", [2, 5])
def test_bytes_that_do_not_fit_the_shape_are_refused(protocol: int) -> None:
    content = pickle.dumps([{"rewards": np.arange(3, dtype=np.float64)}], protocol)
    changed = content.replace(b"K\x03\x85", b"K\x04\x85")
    assert changed != content
    with pytest.raises(RefusedPickle, match=r"shape \(4,\) and 24 bytes, which do not fit"):
        load(changed)


# What a few bytes can ask of the unpickler in C, or of a dict.
COSTLY = {
    "a place in the memory far out": b"\x80\x02]r\xff\xff\xff\x7f.",
    "a text of many gigabytes": b"\x80\x04\x8d" + (1 << 40).to_bytes(8, "little") + b"a.",
    "a key of tuples in tuples": b"\x80\x02]}(" + b"N" + b"\x85" + b"2\x86" * 200 + b"Nua.",
}


@pytest.mark.parametrize("what", COSTLY)
def test_a_few_bytes_take_no_time_and_no_memory(tmp_path: Path, what: str) -> None:
    path = tmp_path / "small.pkl"
    path.write_bytes(COSTLY[what])
    began = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"small\.pkl: "):
            read_kzl(path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02" + name("numpy", "ndarray") + b")\x81.",  # NEWOBJ
        b"(inumpy\nndarray\n.",  # INST
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02" + text("id") + b"Q.",  # BINPERSID
        b"\x80\x02" + name("numpy", "ndarray") + b"}" + text("x") + b"K\x01sb.",  # BUILD
        b"\x80\x02" + name("numpy", "ndarray") + b"K\x01\x85R.",  # an array without bytes
    ],
)
def test_what_arrays_do_not_need_is_refused(content: bytes) -> None:
    with pytest.raises((RefusedPickle, pickle.UnpicklingError, TypeError)):
        load(content)
