"""Steering: with the weights held fixed, which input makes the output that is wanted?

>>> from dt import steering
>>> found = steering.ask("runs/hopper", budget=700)
>>> found.outcome.verdict

Every verb of `dt steer RUN VERB` is a function of that name here. It takes a run's directory (or a
Hugging Face folder, or a loaded policy) and fields of its options, and returns what it found; its
`outcome` has what every verb must say. Commands write files, functions return values.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dt.acting.steering import Steering as Steering
    from dt.model.edits import Edit as Edit
    from dt.steering.asking import ask as ask
    from dt.steering.explaining import explain as explain
    from dt.steering.guiding import guide as guide
    from dt.steering.intervening import intervene as intervene
    from dt.steering.optimizing import optimize as optimize
    from dt.steering.optimizing_rollouts import optimize_rollouts as optimize_rollouts
    from dt.steering.patching import patch as patch
    from dt.steering.reaching import reach as reach
    from dt.steering.running import null as null
    from dt.steering.running import points as points
    from dt.steering.running import run as run

# Where each verb is defined.
_HOMES = {
    "Edit": "dt.model.edits",
    "Steering": "dt.acting.steering",
    "ask": "dt.steering.asking",
    "guide": "dt.steering.guiding",
    "optimize": "dt.steering.optimizing",
    "optimize_rollouts": "dt.steering.optimizing_rollouts",
    "reach": "dt.steering.reaching",
    "explain": "dt.steering.explaining",
    "intervene": "dt.steering.intervening",
    "patch": "dt.steering.patching",
    "null": "dt.steering.running",
    "points": "dt.steering.running",
    "run": "dt.steering.running",
}
__all__ = [*_HOMES]  # noqa: PLE0604 (a list of strings)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'dt.steering' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
