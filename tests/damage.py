"""Damage small valid files: their bytes, the values of their JSON, the arrays that they hold."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from hypothesis import strategies as st

Arrays: TypeAlias = dict[str, Any]

ESCAPES = "\x1b[31mred\x07\r\n\u202e"

# Pieces of JSON that a reader may not expect where another stood.
ODD_JSON = (
    *("null true -1 0 1 2.5 1e308 -1e999 NaN Infinity 9007199254740993".split()),
    "9223372036854775808",
    *('18446744073709551616 "" "1" [] {} [null] [[1],[2,3]] {"":{}} "\\ud800" [NaN]'.split()),
    "1" * 400,
    "1" * 5000,
    "[" * 3000 + "]" * 3000,
    '{"a":' * 3000 + "1" + "}" * 3000,
    "[" * 200000,
    json.dumps(ESCAPES),
    json.dumps("x" * 5000),
    json.dumps({ESCAPES: 1}),
    "1000000000000",
    '"/etc/passwd"',
)

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)


@dataclass(frozen=True)
class Hidden:
    """A value that Hypothesis does not spell out: it would be long."""

    value: Any = field(repr=False)


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """Overwrite, cut, drop or repeat bytes in up to four places."""
    return _damaged(Hidden(content))


@st.composite
def _damaged(draw: st.DrawFn, content: Hidden) -> bytes:
    damaged = bytearray(content.value)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(damaged) - 1)))
        how = draw(st.sampled_from(("flip", "number", "bytes", "cut", "drop", "repeat")))
        if how == "flip" and damaged:
            damaged[place] ^= 1 << draw(st.integers(0, 7))
        elif how == "number":
            size = draw(st.sampled_from((1, 2, 4, 8)))
            number = draw(st.sampled_from(NUMBERS)) & (256**size - 1)
            damaged[place : place + size] = number.to_bytes(size, draw(st.sampled_from(ORDERS)))
        elif how == "bytes":
            new = draw(st.binary(min_size=1, max_size=6))
            damaged[place : place + len(new)] = new
        elif how == "cut":
            del damaged[place:]
        else:
            size = draw(st.integers(1, 64))
            part = damaged[place : place + size]
            damaged[place : place + size] = b"" if how == "drop" else part * 3
    return bytes(damaged)


ORDERS: tuple[Any, ...] = ("little", "big")


def odd_json(values: Any) -> st.SearchStrategy[str]:
    """Put odd values in up to two places of a JSON text, or leave them out; texts of JSON too."""
    return _odd_json(Hidden(values))


@st.composite
def _odd_json(draw: st.DrawFn, values: Hidden) -> str:
    text = json.dumps(values.value)
    for _ in range(draw(st.integers(1, 2))):
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError):
            return text
        odd = draw(st.sampled_from(ODD_JSON))
        text = _with_odd(draw, tree, odd)
    return text


def _with_odd(draw: st.DrawFn, tree: Any, odd: str) -> str:
    places = list(_places(tree))
    path = draw(st.sampled_from(places)) if places else ()
    if not path:
        return odd
    node = tree
    for key in path[:-1]:
        node = node[key]
    inner = node[path[-1]]
    if isinstance(inner, str) and inner.startswith(("{", "[")) and draw(st.booleans()):
        node[path[-1]] = _with_odd(draw, json.loads(inner), odd)
        return json.dumps(tree)
    if draw(st.integers(0, 5)) == 0:
        del node[path[-1]]
        return json.dumps(tree)
    node[path[-1]] = "@odd@"
    return json.dumps(tree).replace('"@odd@"', odd)


def _places(tree: Any, path: tuple[Any, ...] = ()) -> Any:
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for number, (key, value) in enumerate(inner):
        if number > 20:  # of a list of numbers some will do
            return
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from _places(value, (*path, key))


DTYPES = tuple("f2 f4 f8 >f8 i1 i2 i4 i8 u1 u2 u4 u8 >u8 ? U3 S3 c16 M8[s] m8[s] V4 O".split())
SHAPES: tuple[Callable[[int], tuple[int, ...]], ...] = (
    lambda n: (n,),
    lambda n: (n, 1),
    lambda n: (n, 3),
    lambda n: (n, 0),
    lambda n: (n, 2, 2),
    lambda n: (n + 1,),
    lambda n: (0,),
    lambda n: (0, 3),
    lambda n: (1,),
    lambda n: (),
    lambda n: (n, 1, 1, 1, 1, 1),
    lambda n: (n, 40, 40, 3),
)
FILLS = (
    *(0, 1, -1, 127, 255, 2**24 + 1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1),
    *(0.5, 1e30, 1e39, 1e300, math.nan, math.inf, -math.inf, -0.0, 5e-324),
)


@st.composite
def odd_array(draw: st.DrawFn, usual: int) -> np.ndarray:
    """Make an array that a log may not be expected to hold.

    Args:
        usual: how many rows the arrays beside it have.
    """
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(st.sampled_from(SHAPES))(usual)
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    size = int(np.prod(shape))
    if dtype.kind in "USVO":
        words = [ESCAPES, "é", "", "nan", "1", "{}", "CartPole-v1"]
        values: Any = [words[i] for i in rng.integers(0, len(words), size)]
        array = np.array(values, object if dtype.kind == "O" else "U12")
        if dtype.kind in "SV":
            array = np.array([each.encode() for each in values] or [b""], "S12")[:size]
        return array.reshape(shape)
    plain = rng.integers(0, 2, shape)
    fill = draw(st.sampled_from(FILLS))
    with np.errstate(all="ignore"):
        array = np.asarray(plain, dtype if dtype.kind not in "Mm" else "i8")
        if size and draw(st.booleans()):
            wide = (
                np.asarray(fill) if array.dtype.kind in "fc" else np.asarray(_wrapped(fill, array))
            )
            array.reshape(-1)[draw(st.integers(0, size - 1)) :] = wide.astype(array.dtype)
    return array.astype(dtype) if dtype.kind in "Mm" else array


def _wrapped(fill: float, array: np.ndarray) -> int:
    """The nearest that an integer type holds."""
    if array.dtype.kind == "b" or not math.isfinite(fill):
        return 1
    limits = np.iinfo(array.dtype)
    return int(min(max(int(fill), limits.min), limits.max))


def odd_arrays(arrays: Arrays, extras: tuple[str, ...] = ()) -> st.SearchStrategy[Arrays]:
    """Replace, drop or add up to three of the arrays of a file.

    Args:
        extras: names that a file may also hold.
    """
    return _odd_arrays(Hidden(arrays), extras)


@st.composite
def _odd_arrays(draw: st.DrawFn, given: Hidden, extras: tuple[str, ...]) -> Arrays:
    arrays: Arrays = given.value
    made, rows = dict(arrays), max(len(each) for each in arrays.values() if np.ndim(each))
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from((*arrays, *extras)))
        how = draw(st.sampled_from(("odd", "odd", "odd", "drop", "text", "name")))
        if how == "drop":
            made.pop(name, None)
        elif how == "text":
            made[name] = np.array(draw(st.sampled_from((ESCAPES, "", "{}", *ODD_JSON[:20]))))
        elif how == "name":
            made[name + draw(st.sampled_from(("/", "/x", ESCAPES, "/../y", ".npy")))] = np.zeros(
                rows
            )
        else:
            made[name] = draw(odd_array(rows))
    return made
