"""Arrays on the disk: the only orbax."""

from __future__ import annotations

import logging
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from dt.parallel.mesh import abstract_on_one_device


def start_writing(folder: Path, trees: dict[str, Any]) -> Any:
    """Begin to write trees of arrays, one a folder within; `result()` of what returns waits.

    Raises:
        OSError, ValueError: when the disk does not take them; so does `result()`.
    """
    _hush_closed_loops()
    # Orbax logs what it also raises, with the stacks of its threads; one line is ours to say.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    return ocp.save_checkpointables_async(folder, trees)


def read(folder: Path, like: dict[str, Any], shardings: Any = None) -> dict[str, Any]:
    """Trees of arrays of these shapes and types, onto these devices, by default the first."""
    _hush_closed_loops()
    if shardings is None:
        return ocp.load_checkpointables(folder, abstract_on_one_device(like))
    return ocp.load_checkpointables(folder, jax.tree.map(_placed, like, shardings))


@cache
def _hush_closed_loops() -> None:
    """Keep threads of Orbax's from printing that the loop which they answer is closed.

    It is once a read or a write has failed, which is raised too, and has a line of its own.
    """
    warnings.filterwarnings("ignore", r"coroutine 'Store\..*' was never awaited", RuntimeWarning)
    usual = sys.unraisablehook

    def hook(raised: Any) -> None:  # what `sys.unraisablehook` is given
        if str(raised.exc_value) != "Event loop is closed":
            usual(raised)

    sys.unraisablehook = hook


def _placed(leaf: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
