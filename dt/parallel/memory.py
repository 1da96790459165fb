"""How much memory is there still, on the devices and beside them?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax


def free_bytes(devices: Sequence[jax.Device]) -> int:
    """Memory that is free on the fullest device for a copy of something on each.

    A CPU's devices share what the machine, or the container it runs in, has left.
    """
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
