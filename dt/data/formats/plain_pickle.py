"""Load a pickle's numbers, words, lists, dicts and arrays of numbers, and run nothing of it.

A pickle is a program of opcodes, and names what it calls. Here the opcodes are those that plain
values need, on Python's own unpickler (the one in C takes memory that a few bytes ask for), and the
few names that NumPy's arrays ask for stand for functions of this module. NumPy's own are never
given what a file says: a type's pickled state can make it take bytes for addresses.
"""

from __future__ import annotations

import math
import os
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BufferedIOBase
from typing import Any, Literal

import numpy as np

_PLAIN = re.compile(r"b1|[iu][1248]|f[248]")  # Booleans and numbers, as a pickle spells types
_OPCODES = (
    "PROTO FRAME STOP MARK POP POP_MARK DUP GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE "
    "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING "
    "BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES "
    "SHORT_BINBYTES BINBYTES8 BYTEARRAY8 EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 "
    "TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM SETITEMS GLOBAL STACK_GLOBAL REDUCE BUILD"
).split()


class RefusedPickle(Exception):
    """It asked for more than arrays of numbers."""


@dataclass
class UnreadArray:
    """An array or number of another type than plain numbers; it was not made."""

    dtype: str


@dataclass
class _Type:
    """An array's type, of whose pickled state the order of bytes alone is taken."""

    name: str
    order: Literal["<", ">", "|", "="] = "="

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise RefusedPickle("its pickle holds a type of array that NumPy does not write")
        self.order = state[1]

    def array(self, shape: object, content: object, order: str) -> np.ndarray | UnreadArray:
        """Make the array of its bytes, which must be as many as it takes."""
        if not _PLAIN.fullmatch(self.name):
            return UnreadArray("object" if self.name.startswith("O") else self.name)
        if not isinstance(content, (bytes, bytearray)):
            raise RefusedPickle("its pickle holds an array whose content is no bytes")
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise RefusedPickle(f"its pickle holds an array of shape {str(shape)[:80]}")
        dtype = np.dtype(self.name).newbyteorder(self.order)
        if math.prod(shape) * dtype.itemsize != len(content) or len(shape) > 32:
            raise RefusedPickle(
                f"its pickle holds an array of shape {str(shape)[:80]} and {len(content)} bytes, "
                f"which do not fit each other"
            )
        if self.name == "b1":  # a byte that is neither 0 nor 1 is no Boolean of NumPy's
            values = np.frombuffer(content, np.uint8) != 0
        else:
            values = np.frombuffer(content, dtype)
        return values.reshape(shape, order="F" if order == "F" else "C")


@dataclass
class _Array:
    """An array that a pickle begins and then fills."""

    made: list[np.ndarray | UnreadArray] = field(default_factory=list)

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Type):
            raise RefusedPickle("its pickle holds an array that NumPy did not write")
        _, shape, kind, fortran, content = state
        self.made = [kind.array(shape, content, "F" if fortran is True else "C")]


def load_plain(file: BufferedIOBase) -> object:
    """Load what the pickle holds.

    Raises:
        RefusedPickle: saying what it asked for.
        Exception: of many kinds, for bytes that are no pickle.
    """
    return _plain(_PlainUnpickler(_Held(file)).load(), top=True)


class _Held:
    """A file that is asked for no more than it holds: memory is taken for what is asked for."""

    def __init__(self, file: BufferedIOBase):
        self.file, self.size = file, file.seek(0, os.SEEK_END)
        file.seek(0)
        self.readline = file.readline

    def read(self, size: int) -> bytes:
        return self.file.read(self._held(size))

    def readinto(self, into: bytearray) -> int:
        self._held(len(into))
        return self.file.readinto(into)

    def _held(self, size: int) -> int:
        if size > self.size - self.file.tell():
            raise EOFError("it ends early")
        return size


def _plain(value: object, top: bool = False) -> object:
    """Put arrays where they were begun: in the values of dicts, in a list or not."""
    if isinstance(value, _Array):
        return value.made[0] if value.made else UnreadArray("object")
    if isinstance(value, list) and top:
        return [_plain(entry) for entry in value]
    if isinstance(value, dict):
        return {
            key: _plain(each) if isinstance(each, _Array) else each for key, each in value.items()
        }
    return value


def _type(name: object, align: object = False, copy: object = True) -> _Type:
    if not isinstance(name, str):
        raise RefusedPickle("its pickle holds a type of array that NumPy does not write")
    return _Type(name)


def _number(kind: object, content: object = None) -> object:
    if not isinstance(kind, _Type):
        raise RefusedPickle("its pickle holds a number that NumPy did not write")
    made = kind.array((), content, "C")
    return made if isinstance(made, UnreadArray) else made[()]


def _begin(kind: object, shape: object, code: object) -> _Array:
    return _Array()


def _from_buffer(
    content: object, kind: object, shape: object, order: object, axes: object = None
) -> object:
    if not isinstance(kind, _Type) or order not in ("C", "F", "K"):
        raise RefusedPickle("its pickle holds an array that NumPy did not write")
    made = kind.array(shape, content, str(order))
    if axes is None or isinstance(made, UnreadArray):
        return made
    if not isinstance(axes, (list, tuple)) or sorted(map(str, axes)) != [
        *map(str, range(made.ndim))
    ]:
        raise RefusedPickle("its pickle holds an array that NumPy did not write")
    return made.transpose([int(axis) for axis in axes])


def _latin1(text: object, encoding: object) -> bytes:
    """Make bytes of how old pickles spell them."""
    if not isinstance(text, str) or encoding != "latin1":
        raise RefusedPickle(f"its pickle asks for the codec {encoding!r}; write it anew")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Make the bytes that old pickles spell as a call without arguments."""
    return b""


def _no_array() -> None:
    """Stand for the class of arrays, which a pickle only hands on."""


# What NumPy's arrays ask for, in NumPy 1's spelling of the module and in NumPy 2's.
_MAKERS: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy.core.multiarray", "_reconstruct"): _begin,
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy", "ndarray"): _no_array,
    ("numpy", "dtype"): _type,
    ("_codecs", "encode"): _latin1,
    ("__builtin__", "bytes"): _no_bytes,
}


class _Opcodes(dict[int, Callable[..., None]]):
    """What to do for an opcode; what is missing is refused."""

    def __missing__(self, code: int) -> Callable[..., None]:
        raise pickle.UnpicklingError(f"opcode {code:#x} is none that arrays need")


class _PlainUnpickler(pickle._Unpickler):
    """Python's own unpickler with fewer opcodes."""

    stack: list[Any]  # of whatever was loaded
    append: Callable[[object], None]
    pop_mark: Callable[[], list[object]]
    read: Callable[[int], bytes]
    dispatch = _Opcodes(
        (code[0], pickle._Unpickler.dispatch[code[0]])
        for code in (getattr(pickle, name) for name in _OPCODES)
    )

    def find_class(self, module: str, name: str) -> object:
        maker = _MAKERS.get((module.replace("numpy._core.", "numpy.core."), name))
        if maker is None:
            raise RefusedPickle(
                f"its pickle asks for {module}.{name}, which could run code; only arrays are read, "
                f"so convert the file where you trust it"
            )
        # A fresh function each time: a pickle may set attributes of what it is given.
        return lambda *args: maker(*args)

    def load_build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], (_Type, _Array)):
            raise RefusedPickle("its pickle changes what is no array; only arrays are read")
        self.stack[-1].__setstate__(state)

    def load_bytearray8(self) -> None:
        size = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(size)))

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append(_words(items[::2], items[1::2]))

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1].update(_words([key], [value]))

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self.stack[-1].update(_words(items[::2], items[1::2]))

    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems


def _words(keys: list[object], values: list[object]) -> dict[object, object]:
    """Make a dict whose keys are words: tuples of tuples take for ever to compare."""
    if not all(type(key) is str or (type(key) is int and abs(key) < 1 << 63) for key in keys):
        raise RefusedPickle("its pickle holds a dict whose keys are no words")
    return dict(zip(keys, values, strict=True))
