"""Provenance of a number: the commit of the code that made it, and the versions it ran with."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path


def code_commit() -> str | None:
    """Find the commit of the code that ran, "-dirty" if changed since; None outside a checkout."""
    root = Path(__file__).resolve().parent
    try:
        words = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def code_versions() -> dict[str, str]:
    """Versions of what decides a number, for cards."""
    packages = ("dt-steer", "jax", "flax", "optax", "orbax-checkpoint", "gymnasium", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
