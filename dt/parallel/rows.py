"""On which devices does what acts run? On the one of its weights, or on all, a share of rows each.

Rows of acting need nothing of each other, so devices need not either: no mesh of several axes and
no rules of what is divided, as training has them in `dt.parallel.mesh`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

WHOLE = -1  # in place of the axis that is divided
_ROWS = "rows"


def in_line(devices: list[jax.Device]) -> Mesh:
    """Devices that divide rows."""
    return Mesh(np.array(devices), (_ROWS,), axis_types=(AxisType.Auto,))


def on_all(tree: Any, mesh: Mesh) -> Any:
    """A copy on each of the devices."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def on_each(function: Callable[..., Any], mesh: Mesh, taken: Any, given: Any) -> Any:
    """Every device runs the function for itself, on its own rows of what is divided.

    Args:
        taken: of each argument, which axis is divided, or WHOLE; a tree of such numbers, or one for
            all arrays of a tree.
        given: the same of the results; what is WHOLE has to be equal everywhere.
    """

    def spec(axis: int) -> PartitionSpec:
        return PartitionSpec() if axis == WHOLE else PartitionSpec(*[None] * axis, _ROWS)

    in_specs, out_specs = jax.tree.map(spec, taken), jax.tree.map(spec, given)
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )


def place_in_line() -> jax.Array:
    """Within such a function: which of the devices this is."""
    return jax.lax.axis_index(_ROWS)


def bound_to(array: Any) -> SingleDeviceSharding | None:
    """The one device that an array is bound to, if it is.

    What a program gives that takes it is bound to it too. A program that is to take its own results
    has to be given such from the start: it is compiled once more for arrays bound elsewise.
    """
    placed = getattr(array, "sharding", None)
    return placed if isinstance(placed, SingleDeviceSharding) and array.committed else None
