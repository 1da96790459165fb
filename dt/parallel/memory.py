"""Measure the memory that is still free, on the devices and beside them."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from dt.files import free_memory


def free_bytes(devices: Sequence[jax.Device]) -> int:
    """Count the bytes that are free on the fullest device for a copy of something on each.

    A CPU's devices share what the machine, or the container it runs in, has left.
    """
    if devices[0].platform == "cpu":
        return free_memory() // len(devices)
    stats = [device.memory_stats() or {} for device in devices]
    return min(s.get("bytes_limit", 0) - s.get("bytes_in_use", 0) for s in stats)
