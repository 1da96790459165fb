"""Batches, and the windows of steps that each holds: a pure function of (seed, step, row)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int, UInt64

from dt.spaces.arrays import AnyArray

ENDS = 2**32  # in place of a batch's number: windows to train on are never drawn by the same bits
Tuples = TypeVar("Tuples")  # an array, None, or named tuples of such


class Observation(NamedTuple):
    """What is seen at a step, in the model's units: numbers, categories, and pictures."""

    numbers: AnyArray  # (..., O) float32, normalised
    categories: AnyArray  # (..., C) int32, each counted from 0
    pixels: AnyArray  # (..., P) uint8: the bytes of all pictures, one picture after the other


class Action(NamedTuple):
    """What is done at a step, in the model's units."""

    numbers: AnyArray  # (..., A) float32; -1 and 1 are the bounds where there are any
    categories: AnyArray  # (..., D) int32, each counted from 0


class Batch(NamedTuple):
    """B windows of T consecutive steps, padded on the right; padding has `mask` False.

    NumPy or JAX arrays, in the model's units (see `dt.spec.spec`).
    """

    observations: Observation  # (B, T, ...)
    actions: Action  # (B, T, ...)
    returns_to_go: AnyArray  # (B, T) float32
    timesteps: AnyArray  # (B, T) int32, counted from the start of the episode
    mask: AnyArray  # (B, T) bool
    prefix: Batch | None = None  # (B, P, ...), what stands before them (see prefixes.py)


class Steps(NamedTuple):
    """The training data itself: flat arrays over all N steps, in the model's units."""

    observations: Observation  # (N, ...)
    actions: Action  # (N, ...)
    returns_to_go: AnyArray  # (N,) float32


class Windows(NamedTuple):
    """Where windows lie in `Steps`: three integers each, so batches travel as indices."""

    start: AnyArray  # row of the first step; int64, as there may be many
    length: AnyArray  # real steps, 1 to T
    timestep: AnyArray  # timestep of the first step within its episode
    prefix: Windows | None = None  # the windows that stand before these


def draw_windows(
    offsets: Int[np.ndarray, " E1"], num_steps: int, seed: int, step: int, rows: range
) -> Windows:
    """Draw one window of up to `num_steps` steps for each row of batch number `step`.

    A step of the data is drawn uniformly (so episodes are drawn in proportion to length), then
    its place within the window; the window is moved inside its episode where it fits. Every step
    of every episode can appear, and no window crosses an episode's end.

    Args:
        rows: the rows wanted; a process of a larger run asks for its own rows only.
    """
    first = row_bits(seed, step, rows)
    middle = uniform(first, int(offsets[-1]))
    episode = np.searchsorted(offsets, middle, side="right") - 1
    begin, end = offsets[episode], offsets[episode + 1]
    place = uniform(hashed(first), num_steps)
    start = np.maximum(np.minimum(middle - place, end - num_steps), begin)
    length = np.minimum(end - start, num_steps)
    return Windows(start, length.astype(np.int32), (start - begin).astype(np.int32))


def draw_ends(offsets: Int[np.ndarray, " E1"], num_steps: int, seed: int, rows: range) -> Windows:
    """Draw windows that end at a step of the data, for each row one drawn uniformly.

    Each holds the step and up to `num_steps` - 1 before it, as many as its episode has.
    """
    last = uniform(row_bits(seed, ENDS, rows), int(offsets[-1]))
    begin = offsets[np.searchsorted(offsets, last, side="right") - 1]
    start = np.maximum(last - num_steps + 1, begin)
    return Windows(start, (last - start + 1).astype(np.int32), (start - begin).astype(np.int32))


def gather(steps: Steps, windows: Windows, num_steps: int, prefix_steps: int = 0) -> Batch:
    """Cut the windows out of the flat arrays; the same code for NumPy and for JAX arrays.

    Args:
        prefix_steps: of the windows that stand before these, if there are any.
    """
    step = np.arange(num_steps, dtype=np.int32)
    mask = step < windows.length[:, None]
    # Padding repeats the window's last real step, so an index never leaves the arrays.
    rows = windows.start[:, None] + step * mask + (windows.length - 1)[:, None] * ~mask
    batch = as_batch(map_arrays(lambda field: field[rows], steps), windows, num_steps)
    if windows.prefix is None:
        return batch
    return batch._replace(prefix=gather(steps, windows.prefix, prefix_steps))


def as_batch(steps: Steps, windows: Windows, num_steps: int) -> Batch:
    """Make a batch of steps that were cut out already, (B, T, ...), padded like `gather`'s."""
    step = np.arange(num_steps, dtype=np.int32)
    mask = step < windows.length[:, None]
    place = step * mask + (windows.length - 1)[:, None] * ~mask
    timesteps = windows.timestep[:, None] + place
    return Batch(*steps, timesteps=timesteps.astype(np.int32), mask=mask)


def map_arrays(function: Callable[[AnyArray], AnyArray], values: Tuples) -> Tuples:
    """Apply the function to each array of the named tuples."""
    if values is None:
        return values
    if isinstance(values, tuple):
        return type(values)(*(map_arrays(function, value) for value in values))
    mapped: Tuples = function(values)
    return mapped


def row_bits(seed: int, step: int, rows: range) -> UInt64[np.ndarray, " n"]:
    """Draw 64 random bits for each row of batch number `step`: all its other bits follow."""
    key = hashed(hashed(np.array([seed], np.uint64)) ^ np.uint64(step))
    return hashed(key ^ np.arange(rows.start, rows.stop, rows.step, dtype=np.uint64))


def hashed(x: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """Apply SplitMix64's mixing function (Steele et al. 2014): a counter in, random bits out."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniform(bits: UInt64[np.ndarray, " n"], below: int) -> Int[np.ndarray, " n"]:
    """Make integers in [0, below) from the upper 53 bits."""
    return ((bits >> np.uint64(11)) * 2.0**-53 * below).astype(np.int64)
