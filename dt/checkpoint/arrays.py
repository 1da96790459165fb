"""Arrays on the disk: the only orbax."""

from __future__ import annotations

import inspect
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
    _hush_what_follows()
    # Orbax logs what it also raises, with the stacks of its threads; one line is ours to say.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    return ocp.save_checkpointables_async(folder, trees)


def read(folder: Path, like: dict[str, Any], shardings: Any = None) -> dict[str, Any]:
    """Trees of arrays of these shapes and types, onto these devices, by default the first."""
    _hush_what_follows()
    if shardings is None:
        return ocp.load_checkpointables(folder, abstract_on_one_device(like))
    return ocp.load_checkpointables(folder, jax.tree.map(_placed, like, shardings))


@cache
def _hush_what_follows() -> None:
    """Keep threads of Orbax's from printing that others failed too, or that their loop is closed.

    Both follow a read or a write that failed, which is raised too, and has a line of its own.
    """
    warnings.filterwarnings("ignore", r"coroutine 'Store\..*' was never awaited", RuntimeWarning)
    usual = sys.unraisablehook

    def hook(raised: Any) -> None:  # what `sys.unraisablehook` is given
        if not _follows(raised.exc_value, raised.object):
            usual(raised)

    sys.unraisablehook = hook
    logging.getLogger("asyncio").addFilter(_is_news)


def _follows(error: BaseException | None, source: object) -> bool:
    """Tell whether what was raised where nobody catches it comes after what was raised already.

    Arrays are read by coroutines side by side; those that fail after the first are dropped.
    """
    of_orbax = inspect.iscoroutine(source) and "orbax" in Path(source.cr_code.co_filename).parts
    return of_orbax or str(error) == "Event loop is closed"


def _is_news(record: logging.LogRecord) -> bool:
    """Tell whether a line of asyncio's says more than the error that was raised with it.

    Of arrays that are read together several may fail, and one of them is raised.
    """
    said = record.getMessage()
    return not ("exception was never retrieved" in said and "orbax" in said)


def _placed(leaf: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
