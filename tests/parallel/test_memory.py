"""Is the free memory that is counted that of this machine, and of the container around it?"""

from __future__ import annotations

from pathlib import Path

import jax
import psutil
import pytest

import dt.files
from dt.files import free_memory
from dt.parallel.memory import free_bytes


def test_devices_of_a_cpu_share_what_the_machine_has_free() -> None:
    devices = jax.devices("cpu")
    free = free_bytes(devices)
    assert 0 < free * len(devices) <= psutil.virtual_memory().total


def test_a_container_s_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, used = tmp_path / "memory.max", tmp_path / "memory.current"
    limit.write_text("3000\n")
    used.write_text("1000\n")
    monkeypatch.setattr(dt.files, "control_groups", lambda: iter([(limit, used)]))
    assert free_memory() == 2000
    limit.write_text("max\n")
    assert free_memory() > 2000
