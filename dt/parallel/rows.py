"""Devices that act: the one that holds the weights, or all of them with a share of the rows each.

Rows of acting need nothing of each other, so devices need not either: no mesh of several axes and
no rules of what is divided, as training has them in `dt.parallel.mesh`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

WHOLE = -1  # in place of the axis that is divided
_ROWS = "rows"
T = TypeVar("T")  # a tree of arrays


def row_mesh(devices: list[jax.Device]) -> Mesh:
    """Arrange devices in a mesh of one axis, which divides rows."""
    return Mesh(np.array(devices), (_ROWS,), axis_types=(AxisType.Auto,))


def on_all(tree: T, mesh: Mesh) -> T:
    """Copy a tree of arrays to each of the devices."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def on_each(
    function: Callable[..., Any], mesh: Mesh, argument_axes: object, result_axes: object
) -> Callable[..., Any]:
    """Let every device run the function for itself, on its own rows of what is divided.

    Args:
        argument_axes: of each argument, which axis is divided, or WHOLE; a tree of such numbers, or
            one for all arrays of a tree.
        result_axes: the same of the results; what is WHOLE has to be equal everywhere.
    """

    def spec(axis: int) -> PartitionSpec:
        return PartitionSpec() if axis == WHOLE else PartitionSpec(*[None] * axis, _ROWS)

    in_specs, out_specs = jax.tree.map(spec, argument_axes), jax.tree.map(spec, result_axes)
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )


def device_index() -> jax.Array:
    """Tell, within such a function, which of the devices this is: a scalar, from 0."""
    return jax.lax.axis_index(_ROWS)


def bound_to(array: object) -> SingleDeviceSharding | None:
    """Find the one device that an array is bound to; None for others, and for NumPy's arrays.

    What a program gives that takes it is bound to it too. A program that is to take its own results
    has to be given such from the start: it is compiled once more for arrays bound elsewise.
    """
    placed = getattr(array, "sharding", None)
    is_bound = isinstance(placed, SingleDeviceSharding) and getattr(array, "committed", False)
    return placed if is_bound else None
