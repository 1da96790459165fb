"""Measure the memory that is still free, on the devices and beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import psutil


def free_bytes(devices: Sequence[jax.Device]) -> int:
    """Count the bytes that are free on the fullest device for a copy of something on each.

    A CPU's devices share what the machine, or the container it runs in, has left.
    """
    if devices[0].platform == "cpu":
        return free_host_bytes() // len(devices)
    stats = [device.memory_stats() or {} for device in devices]
    return min(s.get("bytes_limit", 0) - s.get("bytes_in_use", 0) for s in stats)


def free_host_bytes() -> int:
    """Count the bytes that are free on this machine, or in the container that it lets us have."""
    free = psutil.virtual_memory().available  # pages that are only cached are available too
    for limit, used in _control_groups():
        if limit.exists() and used.exists() and limit.read_text().strip() != "max":
            free = min(free, int(limit.read_text()) - int(used.read_text()))
    return max(0, free)


def _control_groups() -> Iterator[tuple[Path, Path]]:
    """Find the files with memory limit and use of this process's group, in Linux's two versions."""
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
