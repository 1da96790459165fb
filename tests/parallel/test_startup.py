"""Settings that must be made before JAX starts do no harm afterwards."""

from __future__ import annotations

import subprocess
import sys

from script_process import ROOT

CODE = """
import jax
count = jax.device_count()
from dt.parallel.startup import use_cpu_cores
use_cpu_cores()
assert jax.device_count() == count
"""


def test_once_jax_has_started_its_devices_stay() -> None:
    words = [sys.executable, "-c", CODE]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
