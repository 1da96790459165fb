"""Which devices hold what? The mesh and its shardings: the only jax.sharding."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from dt.config import cache_home

_FLAGS: Any = jax.config  # whose fields are made when JAX starts, and so have no types


def use_compilation_cache() -> None:
    """Keep compiled programs between processes; JAX_COMPILATION_CACHE_DIR names another place."""
    if _FLAGS.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_home() / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def use_cpu_cores() -> None:
    """Let a CPU appear as two devices, before JAX starts; accelerators are not affected.

    Two halves of a batch on a core each train 10 to 15 % faster than one batch on both cores:
    what XLA runs on one thread then runs twice at once. More than two were not measured.
    """
    unset = _FLAGS.jax_num_cpu_devices < 0
    if (os.cpu_count() or 1) >= 2 and unset:
        jax.config.update("jax_num_cpu_devices", 2)


def make_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """All devices (or those given) in a line along the axis `data`."""
    devices = jax.devices() if devices is None else devices
    # Said aloud: JAX's default axis type is Explicit, which wants shardings in every type.
    return Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device: parameters, optimiser state, data that fits."""
    return NamedSharding(mesh, PartitionSpec())


def along_rows(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """The axis of a batch's rows divided over the devices."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def place(tree: Any, sharding: NamedSharding) -> Any:
    """Copy a tree of host arrays to the devices."""
    return jax.tree.map(lambda leaf: jax.device_put(leaf, sharding), tree)


def one_device(tree: Any) -> Any:
    """A copy on the first device alone, for work that is not divided."""
    return jax.device_put(jax.device_get(tree), jax.devices()[0])


def abstract_on_one_device(tree: Any) -> Any:
    """Shapes of a tree, to be loaded onto the first device, wherever it was saved from."""
    sharding = SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def free_bytes(mesh: Mesh) -> int:
    """Memory that is free on the smallest device for a copy of something on each.

    A CPU's devices share what the machine, or the container it runs in, has left.
    """
    devices = mesh.local_devices
    if devices[0].platform == "cpu":
        return free_host_bytes() // len(devices)
    stats = [device.memory_stats() or {} for device in devices]
    return min(s.get("bytes_limit", 0) - s.get("bytes_in_use", 0) for s in stats)


def free_host_bytes() -> int:
    """Memory that is free on this machine, or in the container that it lets us have."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():  # counts pages that are only cached as available
        lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    for limit, used in _control_groups():
        if limit.exists() and used.exists() and limit.read_text().strip() != "max":
            free = min(free, int(limit.read_text()) - int(used.read_text()))
    return max(0, free)


def _control_groups() -> Iterator[tuple[Path, Path]]:
    """Files with the memory limit and use of this process's group, in Linux's two versions."""
    groups = Path("/proc/self/cgroup")
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, group = line.split(":", 2)
        # Within a container the group's own folder may be mounted as the root.
        for name in {group.strip("/"), ""}:
            if controllers == "memory":
                folder = Path("/sys/fs/cgroup/memory", name)
                yield folder / "memory.limit_in_bytes", folder / "memory.usage_in_bytes"
            elif not controllers:
                folder = Path("/sys/fs/cgroup", name)
                yield folder / "memory.max", folder / "memory.current"


def usable_devices(rows: int) -> list[jax.Device]:
    """The most devices that a batch of `rows` divides over evenly."""
    devices = jax.devices()
    count = max(n for n in range(1, len(devices) + 1) if rows % n == 0)
    return devices[:count]
