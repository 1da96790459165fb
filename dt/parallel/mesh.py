"""The mesh of devices that train together, and which part of an array lies on which of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from dt.config import MeshConfig

AXES = ("data", "fsdp", "model")
ROW_AXES = ("data", "fsdp")  # devices along `model` see the same rows
DATA_ALONE = MeshConfig()

T = TypeVar("T")  # a tree of arrays, or of shapes
# A NamedSharding for all arrays of a tree, or a tree of the same structure with one for each.
Shardings: TypeAlias = object
# Words that all stand in a parameter's path -> which of its axes is divided over `model`.
Divided: TypeAlias = Mapping[tuple[str, ...], int]


def make_mesh(devices: list[jax.Device] | None = None, config: MeshConfig = DATA_ALONE) -> Mesh:
    """Arrange all devices, or those given, in a box with the axes `data`, `fsdp` and `model`.

    Raises:
        ValueError: when the axes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    inner = config.fsdp * config.model
    data = config.data or len(devices) // inner
    if data * inner != len(devices):
        raise ValueError(
            f"mesh.data {config.data or 'rest'} x mesh.fsdp {config.fsdp} x mesh.model "
            f"{config.model} do not divide {len(devices)} devices; make their product "
            f"{len(devices)}, or leave mesh.data 0 and the others' product a divisor of it"
        )
    box = np.array(devices).reshape(data, config.fsdp, config.model)
    # Said aloud: JAX's default axis type is Explicit, which wants shardings in every type.
    return Mesh(box, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def usable_devices(rows: int, config: MeshConfig = DATA_ALONE) -> list[jax.Device]:
    """Choose the most devices that make such a mesh, and divide a batch of `rows` evenly.

    Raises:
        ValueError: when no number of devices does, or not the one asked for.
    """
    devices = jax.devices()
    inner = config.fsdp * config.model
    counts = [config.data] if config.data else range(len(devices) // inner, 0, -1)
    for data in counts:
        if data * inner <= len(devices) and rows % (data * config.fsdp) == 0:
            return devices[: data * inner]
    raise ValueError(
        f"mesh.data {config.data or 'rest'} x mesh.fsdp {config.fsdp} x mesh.model {config.model}: "
        f"there are {len(devices)} devices, and the {rows} rows of a micro-batch must divide over "
        f"mesh.data x mesh.fsdp; lower one of them, or change data.batch_size"
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """Keep the whole array on every device: data that fits, numbers."""
    return NamedSharding(mesh, PartitionSpec())


def along_rows(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Divide the axis of a batch's rows over the devices that see different rows."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, ROW_AXES))


def shardings(tree: T, mesh: Mesh, divided: Divided) -> T:
    """Say where each array of a training state lies: parameters, and the optimizer's moments.

    One rule for every model. Matrices that come in pairs, around attention and around the MLP's
    activation, are divided over `model`: the first of a pair by its outputs, the second by its
    inputs, so that what is between them is never gathered (Shoeybi et al. 2019) where `model`
    divides the heads. What is left of a matrix or table is divided over `fsdp` along its longest
    axis (Rajbhandari et al. 2020). What an axis does not divide stays whole on each of its devices,
    as do norms, biases and counts.

    Args:
        divided: which parameters are such pairs; `dt.model.parameter_names.DIVIDED`.

    Returns:
        The tree with a NamedSharding in place of each array.

    Raises:
        ValueError: when a name of `divided` matches no parameter, which would then silently be
            whole on every device.
    """
    names = [_words(path) for path, _ in jax.tree.leaves_with_path(tree)]
    for words in divided:
        if not any(set(words) <= found for found in names):
            raise ValueError(
                f"no parameter is named {'/'.join(words)}, which a mesh divides over `model`; "
                f"dt.model.parameter_names names what the modules no longer have"
            )
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, _partition(path, np.shape(leaf), mesh, divided)),
        tree,
    )


def _words(path: tuple[object, ...]) -> set[object]:
    return {getattr(key, "key", None) for key in path}


def _partition(
    path: tuple[object, ...], shape: tuple[int, ...], mesh: Mesh, divided: Divided
) -> PartitionSpec:
    found = _words(path)
    axes: list[str | None] = [None] * len(shape)
    for words, axis in divided.items():
        if set(words) <= found and shape[axis] % mesh.shape["model"] == 0:
            axes[axis] = "model"
    if len(shape) >= 2:
        free = [i for i in range(len(shape)) if axes[i] is None]
        free = [i for i in free if shape[i] % mesh.shape["fsdp"] == 0]
        if free:
            axes[max(free, key=lambda i: shape[i])] = "fsdp"
    return PartitionSpec(*axes)


def keep(tree: T, sharding: Shardings) -> T:
    """Constrain arrays within a compiled program to lie so."""
    return jax.lax.with_sharding_constraint(tree, sharding)


def place(tree: T, sharding: Shardings) -> T:
    """Copy a tree of host arrays to the devices.

    Args:
        sharding: one for all of them, or a tree of one each.
    """
    if isinstance(sharding, NamedSharding):
        return jax.tree.map(lambda leaf: jax.device_put(leaf, sharding), tree)
    return jax.tree.map(jax.device_put, tree, sharding)


def one_device(tree: T) -> T:
    """Copy a tree to the first device alone, for work that is not divided."""
    return jax.device_put(jax.device_get(tree), jax.devices()[0])


def abstract_on_one_device(tree: T) -> T:
    """Describe a tree's shapes, to be loaded onto the first device wherever it was saved from."""
    sharding = SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
