"""Edits of what stands at a named point: set, add, shuffle, freeze, or take from another episode.

An edit is a value of plain arrays that a file can hold, and a function of what stands there. It
says by itself of which timesteps, tokens of a timestep, heads and features it is.

Axes: B batch, L tokens, N values of a pool, S timesteps of a donor, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dt.model.points import Where
from dt.spaces.arrays import AnyArray

How: TypeAlias = Literal["set", "add", "shuffle", "freeze", "donor"]
ALWAYS = 2**31 - 1  # a last timestep that no episode reaches


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["values", "first", "last"],
    meta_fields=["how", "places", "heads", "features"],
)
@dataclass(frozen=True, eq=False)
class Edit:
    """What is put in place of what stands at a point, from one timestep to another.

    A pytree of its numbers: a compiled program takes other values and timesteps without being
    compiled anew.

    Raises:
        ValueError: for a way that there is not, timesteps in no order, and values that the way
            does not take.
    """

    how: How
    """set: `values` stand there; add: they are added; shuffle: one of the pool `values`, drawn
    anew for each row and timestep; donor: of row s of `values` at timestep `first` + s; freeze:
    what stood there at timestep `first`, without values."""
    values: AnyArray | None = None
    """set, add: anything that broadcasts to the value (B, L, ...); shuffle: (N, ...), a token's
    value each; donor: (S, ...), a timestep's each."""
    first: AnyArray = 0
    """The first timestep of the episode at which it holds; within a program an array of one."""
    last: AnyArray = ALWAYS
    """The last one; both count."""
    places: tuple[int, ...] = ()
    """Of tokens within their timestep; empty: all."""
    heads: tuple[int, ...] = ()
    """Where a point has heads, of `attention.weights` and `attention.heads`; empty: all."""
    features: tuple[int, ...] = ()
    """Numbers of the last axis; empty: all."""

    def __post_init__(self) -> None:
        if self.how not in get_args(How):
            raise ValueError(f"how is {self.how!r}; there are {', '.join(get_args(How))}")
        if not isinstance(self.first, int):
            return  # within a program, of numbers that were looked at before
        if not 0 <= self.first <= self.last:
            raise ValueError(
                f"first is {self.first} and last {self.last}; give timesteps from 0 on, in order"
            )
        if (self.values is None) != (self.how == "freeze"):
            needed = "takes no values" if self.how == "freeze" else "needs values"
            raise ValueError(f"an edit that is to {self.how} {needed}")
        if self.values is not None and self.values.ndim == 0 and self.how in ("shuffle", "donor"):
            raise ValueError(f"values to {self.how} are one number; give a list of them")

    def __call__(self, value: Array, where: Where) -> Array:
        """Make what shall stand there."""
        here = self._of(value, where)
        return jnp.where(here, self._new(value, where), value)

    def _new(self, value: Array, where: Where) -> Array:
        if self.how == "freeze":
            return _frozen(value, where, self.first)
        given = jnp.asarray(self.values)
        if self.how == "add":
            return value + given.astype(value.dtype)
        if self.how == "set":
            return jnp.broadcast_to(given.astype(value.dtype), value.shape)
        if self.how == "shuffle":
            found = given[_drawn(where, len(given))]
        else:
            found = given[jnp.clip(where.timesteps - self.first, 0, len(given) - 1)]
        found = jnp.moveaxis(found, 1, where.axis)  # (B, L, ...), with tokens where they stand
        return jnp.broadcast_to(found.astype(value.dtype), value.shape)

    def _of(self, value: Array, where: Where) -> Bool[Array, ...]:
        """Which numbers of a value are edited; it broadcasts to the value's shape."""
        last: int | Array = self.last
        if self.how == "donor" and self.values is not None:
            last = jnp.minimum(last, self.first + len(self.values) - 1)
        tokens = (where.timesteps >= self.first) & (where.timesteps <= last)
        if self.places:
            tokens = tokens & np.isin(where.places, self.places)
        shape = [1] * value.ndim
        shape[0], shape[where.axis] = tokens.shape
        here = tokens.reshape(shape)
        if self.heads:
            here = here & _chosen(value, 3 - where.axis, self.heads)
        if self.features:
            here = here & _chosen(value, value.ndim - 1, self.features)
        return here


def _chosen(value: Array, axis: int, places: tuple[int, ...]) -> Bool[np.ndarray, ...]:
    """Of an axis, which places are meant; shaped to broadcast to the value."""
    count = value.shape[axis] if axis < value.ndim else 0
    if max(places) >= count or min(places) < 0:
        raise ValueError(f"{list(places)} of an axis of {count}; count from 0")
    shape = [1] * value.ndim
    shape[axis] = count
    return np.isin(np.arange(count), places).reshape(shape)


def _drawn(where: Where, count: int) -> Int[Array, "B L"]:
    """Draw a place in a pool for each row and timestep, by their numbers alone."""

    def draw(row: Array, timestep: Array) -> Array:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(17), row), timestep)
        return jax.random.randint(key, (), 0, count)

    rows = jnp.asarray(where.rows).astype(jnp.uint32)
    of_row = jax.vmap(draw, in_axes=(None, 0))
    drawn: Int[Array, "B L"] = jax.vmap(of_row)(rows, jnp.maximum(where.timesteps, 0))
    return drawn


def _frozen(value: Array, where: Where, first: int | Array) -> Float[Array, ...]:
    """Of each token, the value that the token of its place had at timestep `first`.

    Where a segment does not hold that timestep the value stays.
    """
    moved = jnp.moveaxis(value, where.axis, 1)
    places = np.asarray(where.places)
    same = (where.timesteps == first)[:, None, :] & (places[:, None] == places)[None]
    at = jnp.where(same.any(axis=2), same.argmax(axis=2), np.arange(len(places)))
    index = at.reshape(*at.shape, *[1] * (moved.ndim - 2))
    return jnp.moveaxis(jnp.take_along_axis(moved, index, axis=1), 1, where.axis)
