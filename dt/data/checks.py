"""Refuse logged values that are no finite numbers of their space, naming episode and step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces

from dt.spaces.parts import Leaf, is_composite, leaves
from dt.spaces.records import form

Locate: TypeAlias = Callable[[int], tuple[int, int]]  # a row -> its (episode, step)

_VALUES_CHECKED: ContextVar[bool] = ContextVar("values_checked", default=True)


@contextmanager
def unchecked_values() -> Iterator[None]:
    """Let NaN, infinity and actions that a space lacks be read within it, for a card to list."""
    token = _VALUES_CHECKED.set(False)
    try:
        yield
    finally:
        _VALUES_CHECKED.reset(token)


def check_values(
    name: str,
    field_name: str,
    values: np.ndarray,
    space: gymnasium.Space | None,
    locate: Locate,
) -> None:
    """Refuse values that are no finite numbers of the space; of records, part by part.

    Args:
        locate: for the message.
    """
    if space is not None and is_composite(space):
        for leaf in leaves(space):
            try:
                part = leaf.of(values)
            except (KeyError, IndexError, ValueError):
                held = form(values) if values.dtype.names else "plain arrays"
                raise ValueError(
                    f"{name}: {field_name} have no part {leaf.name}, but are {held}; "
                    f"give data of an environment with the space {space}"
                ) from None
            check_values(name, f"{field_name}/{leaf.name}", part, leaf.space, locate)
        return
    if values.dtype.kind not in "biuf":
        what = "records" if values.dtype.names else values.dtype
        raise ValueError(f"{name}: {field_name} are {what}; give numbers")
    if space is not None and values.shape[1:] != space.shape:
        raise ValueError(
            f"{name}: {field_name} have shape {values.shape[1:]} a step, "
            f"but the environment's space is {space}; give data of the same environment"
        )
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        _check_categories(name, field_name, values, Leaf((), space, "categories"), locate)
    if _VALUES_CHECKED.get() and np.issubdtype(values.dtype, np.floating):
        _check_finite(name, field_name, values, locate)


def _check_categories(
    name: str,
    field_name: str,
    values: np.ndarray,
    leaf: Leaf,
    locate: Locate,
) -> None:
    if values.dtype.kind not in "biu":
        raise ValueError(
            f"{name}: {field_name} are {values.dtype}, but the space is {leaf.space}; give integers"
        )
    if not _VALUES_CHECKED.get() or not len(values):
        return
    rows = values.reshape(len(values), leaf.size)
    low, high = leaf.starts, leaf.starts + leaf.counts - 1
    if (rows.min(axis=0) < low).any() or (rows.max(axis=0) > high).any():
        row = int(np.argmax(((rows < low) | (rows > high)).any(axis=1)))
        episode, step = locate(row)
        raise ValueError(
            f"{name}: {field_name} at episode {episode}, step {step} is {values[row]}, "
            f"outside {leaf.space}; remove the episode, or name the environment it is from"
        )


def _check_finite(name: str, field_name: str, values: np.ndarray, locate: Locate) -> None:
    with np.errstate(invalid="ignore", over="ignore"):
        total = values.sum(dtype=np.float64)  # one pass, no copy: the common case
    if np.isfinite(total):
        return
    finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if finite.all():  # the sum overflowed, the values did not
        return
    row = int(np.argmin(finite))
    episode, step = locate(row)
    value = values[row] if values[row].size <= 8 else "a row with NaN or infinity"
    raise ValueError(
        f"{name}: {field_name} at episode {episode}, step {step} is not finite "
        f"({value}); repair or remove the episode"
    )
