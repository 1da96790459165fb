"""Which devices hold what? The mesh and its shardings: the only jax.sharding."""

from __future__ import annotations

import os
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from dt.config import MeshConfig, cache_home

AXES = ("data", "fsdp", "model")
ROW_AXES = ("data", "fsdp")  # devices along `model` see the same rows
DATA_ALONE = MeshConfig()
# Which axis of a block's parameters is divided over `model`.
OUTPUTS, INPUTS = {"kernel": 1, "bias": 0}, {"kernel": 0}
DIVIDED = {"qkv": OUTPUTS, "out": INPUTS, "expand": OUTPUTS, "contract": INPUTS}

_FLAGS: Any = jax.config  # whose fields are made when JAX starts, and so have no types


def use_compilation_cache() -> None:
    """Keep compiled programs between processes; JAX_COMPILATION_CACHE_DIR names another place."""
    if _FLAGS.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_home() / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def use_cpu_cores() -> None:
    """Let a CPU appear as two devices, before JAX starts; accelerators are not affected.

    Two halves of a batch on a core each train 10 to 15 % faster than one batch on both cores:
    what XLA runs on one thread then runs twice at once. More than two were not measured.
    """
    unset = _FLAGS.jax_num_cpu_devices < 0
    if (os.cpu_count() or 1) >= 2 and unset:
        jax.config.update("jax_num_cpu_devices", 2)


def make_mesh(devices: list[jax.Device] | None = None, config: MeshConfig = DATA_ALONE) -> Mesh:
    """All devices, or those given, as a box with the axes `data`, `fsdp` and `model`.

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
    """The most devices that make such a mesh, over which a batch of `rows` divides evenly.

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
    """The whole array on every device: data that fits, numbers."""
    return NamedSharding(mesh, PartitionSpec())


def along_rows(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """The axis of a batch's rows divided over the devices that see different rows."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, ROW_AXES))


def shardings(tree: Any, mesh: Mesh) -> Any:
    """Where each array of a training state lies: parameters, and the optimiser's copies of them.

    One rule for every model. Matrices that come in pairs, around attention and around the MLP's
    activation, are divided over `model`: the first of a pair by its outputs, the second by its
    inputs, so that what is between them is never gathered (Shoeybi et al. 2019) where `model`
    divides the heads. What is left of a matrix or table is divided over `fsdp` along its longest
    axis (Rajbhandari et al. 2020). What an axis does not divide stays whole on each of its devices,
    as do norms, biases and counts.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, _partition(path, np.shape(leaf), mesh)), tree
    )


def _partition(path: tuple[Any, ...], shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    names = {getattr(key, "key", None) for key in path}
    axes: list[str | None] = [None] * len(shape)
    for layer in DIVIDED.keys() & names if "blocks" in names else ():
        for leaf, axis in DIVIDED[layer].items():
            if leaf in names and shape[axis] % mesh.shape["model"] == 0:
                axes[axis] = "model"
    if len(shape) >= 2:
        free = [i for i in range(len(shape)) if axes[i] is None]
        free = [i for i in free if shape[i] % mesh.shape["fsdp"] == 0]
        if free:
            axes[max(free, key=lambda i: shape[i])] = "fsdp"
    return PartitionSpec(*axes)


def keep(tree: Any, sharding: Any) -> Any:
    """Within a compiled program: the same arrays, lying so."""
    return jax.lax.with_sharding_constraint(tree, sharding)


def place(tree: Any, sharding: Any) -> Any:
    """Copy a tree of host arrays to the devices.

    Args:
        sharding: one for all of them, or a tree of one each.
    """
    if isinstance(sharding, NamedSharding):
        return jax.tree.map(lambda leaf: jax.device_put(leaf, sharding), tree)
    return jax.tree.map(jax.device_put, tree, sharding)


def one_device(tree: Any) -> Any:
    """A copy on the first device alone, for work that is not divided."""
    return jax.device_put(jax.device_get(tree), jax.devices()[0])


def abstract_on_one_device(tree: Any) -> Any:
    """Shapes of a tree, to be loaded onto the first device, wherever it was saved from."""
    sharding = SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
