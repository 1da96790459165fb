"""The batch axis of what a policy is given: there for a batch of rows, not for one environment.

Inside, one environment is a batch of one row; its axis is added and taken away here.
"""

from __future__ import annotations

from typing import TypeAlias

import gymnasium
import jax
import numpy as np

from dt.spaces.arrays import Tree
from dt.spaces.parts import Leaf, leaves
from dt.spaces.records import build, to_records

# One number a row of a batch, or the number of one environment.
Numbers: TypeAlias = np.ndarray | list[float] | float | np.number


def with_axis(space: gymnasium.Space, values: Tree) -> Tree:
    """Make a batch of one out of a value of the space, be it an array, a tree or a record."""
    if isinstance(values, np.ndarray | np.void):
        return np.asarray(values)[None]
    return build(space, lambda leaf: np.asarray(leaf.of(values))[None])


def without_axis(values: Tree) -> Tree:
    """Take the value out of a batch of one; the inverse of `with_axis`."""
    return jax.tree.map(lambda part: part[0], values)


def as_numbers(name: str, values: Numbers) -> np.ndarray:
    """Give numbers as an array, of whatever shape.

    Raises:
        ValueError: for what is no number.
    """
    try:
        return np.asarray(values, np.float32)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} are {values!r:.80}; give numbers") from error


def number_a_row(name: str, values: Numbers, num_rows: int, is_single: bool) -> np.ndarray:
    """Check numbers of the rows, (B,), or of one environment, a scalar, and give them as (B,).

    Raises:
        ValueError: for another shape, and for NaN or infinity.
    """
    numbers = as_numbers(name, values)
    if is_single and numbers.ndim:
        raise ValueError(
            f"{name} have shape {numbers.shape}; give one number, as this policy was reset with "
            f"one (or reset it with a list, for a batch)"
        )
    if not is_single and numbers.shape != (num_rows,):
        raise ValueError(
            f"{name} have shape {numbers.shape}; give one for each row that was reset, {num_rows}"
        )
    numbers = numbers.reshape(num_rows)
    if not np.isfinite(numbers).all():
        row = int(np.argmin(np.isfinite(numbers)))
        raise ValueError(f"{name} are not finite: row {row} has {numbers[row]}")
    return numbers


def observation_records(
    space: gymnasium.Space, observations: Tree, num_rows: int, is_single: bool
) -> np.ndarray:
    """Check observations of all rows, or of one environment, and give them as (B, ...) records.

    Raises:
        ValueError: for a part that is missing, for other shapes, and for NaN or infinity.
    """
    try:
        given = with_axis(space, observations) if is_single else observations
        records = to_records(space, given)
        shapes = [(leaf, leaf.of(records).shape) for leaf in leaves(space)]
    except (KeyError, IndexError):
        raise ValueError(
            f"observations lack a part of {space}; give all of them, as Gymnasium's "
            f"{'' if is_single else 'vector '}environments do"
        ) from None
    except TypeError:  # a number of a Dict has no length
        raise ValueError(
            f"observations have no batch axis; this policy was reset for {num_rows} rows (reset it "
            f"with one number for one environment)"
        ) from None
    for leaf, shape in shapes:
        if shape == (num_rows, *leaf.shape):
            _check_finite(leaf, leaf.of(records))
            continue
        name = f"observations/{leaf.name}" if leaf.name else "observations"
        if is_single:
            raise ValueError(
                f"{name} have shape {shape[1:]}; give {leaf.shape}, without a batch axis, as this "
                f"policy was reset with one number (or reset it with a list, for a batch)"
            )
        hint = " (reset it with one number for one environment)" if shape == leaf.shape else ""
        expected = (num_rows, *leaf.shape)
        raise ValueError(f"{name} have shape {shape}; this policy was reset for {expected}{hint}")
    return records


def _check_finite(leaf: Leaf, values: np.ndarray) -> None:
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    rows = values.reshape(len(values), -1)
    row, place = (int(each[0]) for each in np.nonzero(~np.isfinite(rows)))
    name = f"observations/{leaf.name}" if leaf.name else "observations"
    raise ValueError(f"{name} are not finite: number {place} of row {row} is {rows[row, place]}")
