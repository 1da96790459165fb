"""List the parts of a space: its numbers, categories and pictures, and how they lie side by side.

A space of several parts is a Dict or a Tuple, and may nest; any other is its own only part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Bool, Int
from numpy.typing import DTypeLike

from dt.spaces.arrays import AnyArray, Tree

Kind: TypeAlias = Literal["numbers", "categories", "image"]
Path: TypeAlias = tuple[str, ...]

MOST_NUMBERS = 1 << 28  # of a step; no observation or action has as many
MIN_SIDE = 3  # a byte matrix with a shorter side is numbers, not a picture


@dataclass(frozen=True)
class Leaf:
    """A space without parts, and where it stands in the whole."""

    path: Path  # the keys that lead to it
    space: gymnasium.Space
    kind: Kind

    @property
    def name(self) -> str:
        return "/".join(self.path)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.space.shape or ()

    @cached_property
    def size(self) -> int:
        """Numbers, categories or bytes of a step."""
        return math.prod(self.shape)

    @cached_property
    def counts(self) -> Int[np.ndarray, " n"]:
        """Count the values that each of its categories can take."""
        if isinstance(self.space, spaces.Discrete):
            return np.array([self.space.n], np.int64)
        if isinstance(self.space, spaces.MultiDiscrete):
            return self.space.nvec.reshape(-1).astype(np.int64)
        return np.full(self.size, 2)

    @cached_property
    def starts(self) -> Int[np.ndarray, " n"]:
        """The lowest value of each of its categories."""
        if isinstance(self.space, spaces.Discrete):
            return np.array([self.space.start], np.int64)
        if isinstance(self.space, spaces.MultiDiscrete):
            return self.space.start.reshape(-1).astype(np.int64)
        return np.zeros(self.size, np.int64)

    def of(self, values: Tree) -> AnyArray:
        """Pick its values out of those of the whole space, be they records or a tree."""
        for key in self.path:
            values = child(values, key)
        return values


@dataclass(frozen=True)
class Parts:
    """The leaves of a space by kind, and how their values lie side by side."""

    numbers: tuple[Leaf, ...]
    categories: tuple[Leaf, ...]
    images: tuple[Leaf, ...]

    @classmethod
    def of(cls, space: gymnasium.Space, images: bool = True) -> Parts:
        """Sort the parts of a space by kind; `images` as for `leaves`."""
        found = leaves(space, images)
        kinds: tuple[Kind, ...] = ("numbers", "categories", "image")
        return cls(*(tuple(leaf for leaf in found if leaf.kind == kind) for kind in kinds))

    @cached_property
    def num_numbers(self) -> int:
        return sum(leaf.size for leaf in self.numbers)

    @cached_property
    def num_pixels(self) -> int:
        """Bytes of a step's pictures."""
        return sum(leaf.size for leaf in self.images)

    @cached_property
    def counts(self) -> Int[np.ndarray, " C"]:
        """Count the values that each category can take."""
        return np.concatenate([np.zeros(0, np.int64), *(leaf.counts for leaf in self.categories)])

    @cached_property
    def starts(self) -> Int[np.ndarray, " C"]:
        """The lowest value of each category."""
        return np.concatenate([np.zeros(0, np.int64), *(leaf.starts for leaf in self.categories)])

    @cached_property
    def bounded(self) -> Bool[np.ndarray, " A"]:
        """Tell which numbers lie in a box that bounds all of its own."""
        parts = (np.full(leaf.size, _bounds_all(leaf.space)) for leaf in self.numbers)
        return np.concatenate([np.zeros(0, bool), *parts])

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest value of each number, float64."""
        boxes = [leaf.space for leaf in self.numbers if isinstance(leaf.space, spaces.Box)]
        low = [box.low.reshape(-1).astype(np.float64) for box in boxes]
        high = [box.high.reshape(-1).astype(np.float64) for box in boxes]
        return np.concatenate([np.zeros(0), *low]), np.concatenate([np.zeros(0), *high])

    def number_columns(self, values: Tree, origin: np.ndarray | None = None) -> AnyArray:
        """Lay the numbers of n steps side by side, (n, O) float32; of NumPy or JAX as before.

        Args:
            origin: (O,) float64, what to take off each number before it is rounded to float32.
        """
        return self._columns(self.numbers, values, np.float32, origin)

    def category_columns(self, values: Tree) -> AnyArray:
        """Lay the categories of n steps side by side, (n, C) int32, each counted from 0."""
        return (self._columns(self.categories, values, int) - self.starts).astype(np.int32)

    def pixel_columns(self, values: Tree) -> AnyArray:
        """Lay the bytes of all pictures of n steps side by side, (n, P) uint8."""
        return self._columns(self.images, values, np.uint8)

    def _columns(
        self,
        chosen: tuple[Leaf, ...],
        values: Tree,
        dtype: DTypeLike,
        origin: np.ndarray | None = None,
    ) -> AnyArray:
        if not chosen:
            every = (*self.numbers, *self.categories, *self.images)
            return np.zeros((len(every[0].of(values)), 0), dtype)
        arrays = [leaf.of(values) for leaf in chosen]
        flat = [
            array.reshape(len(array), leaf.size) for array, leaf in zip(arrays, chosen, strict=True)
        ]
        if origin is not None and origin.any():
            ends = np.cumsum([0, *(leaf.size for leaf in chosen)]).tolist()
            flat = [_less(part, origin[ends[i] : ends[i + 1]]) for i, part in enumerate(flat)]
        flat = [part.astype(dtype, copy=False) for part in flat]
        return flat[0] if len(flat) == 1 else flat[0].__array_namespace__().concatenate(flat, 1)


def _less(values: AnyArray, origin: np.ndarray) -> AnyArray:
    """Take the origin off in the widest numbers there are: integers in integers, where they fit."""
    if not origin.any():
        return values
    if not isinstance(values, np.ndarray):  # JAX's, of 32 bits: by what these hold, then the rest
        first = origin.astype(values.dtype)
        return (values - first).astype(np.float32) - (origin - first).astype(np.float32)
    if values.dtype.kind == "i" or values.dtype in (np.uint8, np.uint16, np.uint32):
        return values.astype(np.int64) - origin.astype(np.int64)
    return values.astype(np.float64) - origin


def leaves(space: gymnasium.Space, images: bool = True) -> tuple[Leaf, ...]:
    """List the parts of a space by their keys in alphabetical order; a plain space is its own.

    Args:
        images: whether bytes in two or more axes are pictures; of actions they are numbers.

    Raises:
        ValueError: naming the part that no model here reads or writes.
    """
    found = tuple(_walk(space, (), images))
    if sum(leaf.size for leaf in found) > MOST_NUMBERS:
        raise ValueError(f"space {space}: a step has more than {MOST_NUMBERS:,} numbers")
    names = [leaf.name for leaf in found]
    if len(set(names)) < len(names) or any("" in leaf.path for leaf in found):
        raise ValueError(f"space {space}: its keys must be words, and joined by '/' differ")
    return found


def facts(space: gymnasium.Space) -> list[tuple[object, ...]]:
    """List what must agree where a policy acts: each part's name, kind, shape and number of
    values; bounds may differ."""
    return [
        (
            leaf.path,
            type(leaf.space),
            leaf.kind,
            leaf.shape,
            leaf.counts.tolist() if leaf.kind == "categories" else [],
        )
        for leaf in leaves(space)
    ]


def is_composite(space: gymnasium.Space) -> bool:
    """Tell whether the space has parts, so that its values are records."""
    return isinstance(space, spaces.Dict | spaces.Tuple)


def is_image(space: gymnasium.Space) -> bool:
    """Tell whether values are pictures: bytes in a plane, of channels, of several frames."""
    return (
        isinstance(space, spaces.Box)
        and space.dtype == np.uint8
        and space.shape is not None
        and len(space.shape) in (2, 3, 4)
        and min(plane(space.shape)[:2]) >= MIN_SIDE
    )


def plane(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Find height, width and channels of pictures of this shape.

    Of three axes the first holds the channels if it is shorter than the last, as in (4, 84, 84),
    else the last does. A fourth, in front, holds frames, whose channels are stacked.
    """
    if len(shape) == 4:
        height, width, channels = plane(shape[1:])
        return height, width, shape[0] * channels
    if len(shape) == 2:
        return shape[0], shape[1], 1
    first, second, third = shape
    return (second, third, first) if channels_first(shape) else (first, second, third)


def channels_first(shape: tuple[int, ...]) -> bool:
    """Tell whether the channels stand before the plane; `shape` is without an axis of frames."""
    return len(shape) == 3 and shape[0] < shape[2]


def child(values: Tree, key: str) -> Tree:
    """Pick one part of records, a dictionary or a tuple."""
    return values[int(key)] if isinstance(values, tuple | list) else values[key]


def _walk(space: gymnasium.Space, path: Path, images: bool) -> Iterator[Leaf]:
    if is_composite(space):
        parts = children(space)
        if not parts:
            raise ValueError(f"space {space}{_at(path)}: has no parts")
        for key, part in parts:
            yield from _walk(part, (*path, key), images)
    elif images and is_image(space):
        yield Leaf(path, space, "image")
    elif isinstance(space, spaces.Box):
        yield Leaf(path, space, "numbers")
    elif isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        yield Leaf(path, space, "categories")
    else:
        raise ValueError(
            f"space {space}{_at(path)}: is none of Box, Discrete, MultiDiscrete, MultiBinary, and "
            f"Dict and Tuple of these"
        )


def children(space: gymnasium.Space) -> list[tuple[str, gymnasium.Space]]:
    """List the parts of a Dict or Tuple one level down, by their keys in alphabetical order."""
    if isinstance(space, spaces.Dict):
        return sorted(space.spaces.items())  # whatever order it was made in
    assert isinstance(space, spaces.Tuple)
    return [(str(index), part) for index, part in enumerate(space.spaces)]


def _bounds_all(space: gymnasium.Space) -> bool:
    return isinstance(space, spaces.Box) and space.is_bounded()


def _at(path: Path) -> str:
    return f" at {'/'.join(path)}" if path else ""
