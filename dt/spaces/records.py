"""Keep steps of several parts in one array, as records, and turn them into trees and back.

Observations and actions of a Dict or Tuple space are NumPy record arrays: a field for each key
("0", "1", ... of a Tuple), records within records where spaces are nested. Length, slices and
concatenation then mean what they mean for the plain arrays of every other space. Environments
and Minari have trees instead: dictionaries and tuples of arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces

from dt.spaces.arrays import Tree
from dt.spaces.parts import Leaf, Path, child, children, is_composite, leaves

Form: TypeAlias = tuple[int, ...] | dict[str, Any]  # a shape; of records one for each field


def to_records(space: gymnasium.Space, values: Tree) -> np.ndarray:
    """Turn steps as trees have them into one array, an item a step; arrays stay as they are.

    Raises:
        ValueError: when parts are of unequal lengths.
        KeyError: when a part is missing.
    """
    if isinstance(values, np.ndarray) or not is_composite(space):
        return np.asarray(values)
    columns = {key: to_records(sub, child(values, key)) for key, sub in children(space)}
    lengths = {key: len(column) for key, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the parts of {space} have unequal lengths: {lengths}")
    return _joined(columns)


def stack_steps(steps: Sequence[Tree]) -> np.ndarray:
    """Stack steps as a single environment gives them, an item each; no space has to be known.

    Dictionaries and tuples, of whatever depth, become records.

    Raises:
        ValueError: when steps have unequal parts or shapes, naming the first such step.
    """
    first = steps[0] if len(steps) else 0.0
    if not isinstance(first, Mapping | tuple):
        arrays = [np.asarray(step) for step in steps]
        for number, array in enumerate(arrays):
            if array.shape != arrays[0].shape:
                shapes = f"has shape {array.shape}, step 0 {arrays[0].shape}"
                raise ValueError(f"step {number} {shapes}; give steps of one environment")
        return np.asarray(arrays)
    trees = [_parts(step) for step in steps]
    for number, tree in enumerate(trees):
        if tree.keys() != trees[0].keys():
            parts = f"has the parts {', '.join(tree) or 'none'}, step 0 {', '.join(trees[0])}"
            raise ValueError(f"step {number} {parts}; give steps of one environment")
    return _joined({key: stack_steps([tree[key] for tree in trees]) for key in sorted(trees[0])})


def _parts(step: Tree) -> dict[str, Tree]:
    if isinstance(step, Mapping):
        return {str(key): value for key, value in step.items()}
    return {str(i): value for i, value in enumerate(step)} if isinstance(step, tuple) else {}


def _joined(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Columns of equal lengths as one array of records."""
    fields = [(key, column.dtype, column.shape[1:]) for key, column in columns.items()]
    records = np.empty(len(next(iter(columns.values()))), np.dtype(fields))
    for key, column in columns.items():
        records[key] = column
    return records


def to_tree(space: gymnasium.Space, records: Tree) -> Tree:
    """Turn records into a tree: the inverse of `to_records`."""
    return build(space, lambda leaf: leaf.of(records))


def build(space: gymnasium.Space, values_of: Callable[[Leaf], Tree]) -> Tree:
    """Make a tree of the space with these values in its leaves; of a plain space its value."""
    made = {leaf.path: values_of(leaf) for leaf in leaves(space, images=False)}

    def fill(part: gymnasium.Space, path: Path) -> Tree:
        if not is_composite(part):
            return made[path]
        filled = {key: fill(sub, (*path, key)) for key, sub in children(part)}
        return filled if isinstance(part, spaces.Dict) else tuple(filled.values())

    return fill(space, ())


def form(values: np.ndarray) -> Form:
    """Find the shape of one step; of records by field."""
    return _form(values.dtype, values.shape[1:])


def _form(dtype: np.dtype, shape: tuple[int, ...]) -> Form:
    if dtype.names is None:
        return shape
    assert dtype.fields is not None
    parts = {name: dtype.fields[name][0] for name in dtype.names}
    return {name: _form(part.base, part.shape) for name, part in parts.items()}
