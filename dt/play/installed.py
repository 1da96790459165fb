"""Environments, demos and players that come with the installed package, by its entry point."""

from __future__ import annotations

import importlib
from types import ModuleType

from dt.files import installed_packages

GROUP = "dt.environments"


def environments() -> ModuleType:
    """Import what registers environments and brings demos and players.

    Raises:
        ValueError: where the package is not installed.
    """
    for package in installed_packages():
        for point in package.entry_points.select(group=GROUP):
            return importlib.import_module(point.value)
    raise ValueError(
        "the environments and demos that belong to this package are not installed; in a clone "
        "install it (pip install -e .), or use the scripts train.py, evaluate.py and collect.py"
    )
