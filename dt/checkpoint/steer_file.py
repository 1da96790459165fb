"""Steering files, x.steer: plain numbers that steer one set of weights, and what they were shown
to do.

A file is a NumPy archive (.npz) of plain arrays, opened without pickle: `steering.json` in its text
says what the arrays are, for which weights they were made, and what was measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dt.acting.steering import Steering
from dt.data.formats.npz import check_arrays
from dt.files import reading, structured, written_whole
from dt.model.edits import ALWAYS, Edit, How

FORMAT = 1
SUFFIX = ".steer"
HEADER = "header"
MOST_HEADER = 1 << 20  # bytes
REMEDY = "make it anew with the verb of `dt steer` that wrote it"


@dataclass(frozen=True)
class EditEntry:
    """An edit as a header has it; its values are the array of the name `values`."""

    point: str
    how: How
    values: str = ""
    first: int = 0
    last: int = ALWAYS
    places: tuple[int, ...] = ()
    heads: tuple[int, ...] = ()
    features: tuple[int, ...] = ()


@dataclass(frozen=True)
class Header:
    """What a steering file says of itself."""

    format: int
    weights: str  # hash of the weights that it was made for
    source: str  # the run of them
    checkpoint_step: int
    made_by: str  # the command or call
    effect: dict[str, Any]  # what was measured, as the verb's outcome has it
    controls: dict[str, Any]  # by their names, what else was measured beside it
    request: float | None = None
    guidance: tuple[float, float, float] | None = None
    has_prefix: bool = False
    edits: tuple[EditEntry, ...] = ()


class SteerFile(NamedTuple):
    """A steering and what is known of it."""

    steering: Steering
    header: Header


def save_steering(
    path: Path,
    steering: Steering,
    *,
    weights: str,
    source: str,
    checkpoint_step: int,
    made_by: str,
    effect: Mapping[str, Any],
    controls: Mapping[str, Any],
) -> None:
    """Write a steering file, whole.

    Args:
        weights: the hash of the weights that it was made for, as `weights_hash` has it.
        effect, controls: JSON values.

    Raises:
        ValueError: for a name that does not end in .steer, or lies in no folder.
    """
    check_name(path)
    arrays: dict[str, np.ndarray] = {}
    if steering.prefix is not None:
        arrays["prefix"] = np.asarray(steering.prefix, np.float32)
    entries = []
    for number, (point, edit) in enumerate(steering.edits.items()):
        name = "" if edit.values is None else f"values_{number}"
        if edit.values is not None:
            arrays[name] = np.asarray(edit.values)
        chosen = (edit.places, edit.heads, edit.features)
        entries.append(EditEntry(point, edit.how, name, int(edit.first), int(edit.last), *chosen))
    header = Header(
        format=FORMAT,
        weights=weights,
        source=source,
        checkpoint_step=checkpoint_step,
        made_by=made_by,
        effect=dict(effect),
        controls=dict(controls),
        request=steering.request,
        guidance=steering.guidance,
        has_prefix=steering.prefix is not None,
        edits=tuple(entries),
    )
    text = json.dumps(_plain(header)).encode()
    arrays[HEADER] = np.frombuffer(text, np.uint8)
    with written_whole(path) as beside, beside.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_steering(path: Path) -> SteerFile:
    """Read a steering file; nothing in it is run, and it takes no more memory than its bytes.

    Raises:
        ValueError: in one line that names the file, for what is none or is damaged.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such steering file; {REMEDY}")
    with reading(path, REMEDY):
        arrays = _arrays(path)
        if HEADER not in arrays or arrays[HEADER].dtype != np.uint8:
            raise ValueError("it has no header, so it is no steering file")
        values = json.loads(arrays[HEADER].tobytes()[:MOST_HEADER])
        header = structured(Header, values)
        if header.format != FORMAT:
            raise ValueError(f"its format is {header.format}, and this version reads {FORMAT}")
        return SteerFile(_steering(header, arrays), header)


def check_name(path: Path) -> None:
    """Refuse a file that cannot be written.

    Raises:
        ValueError: saying what its name must be.
    """
    if path.suffix != SUFFIX:
        raise ValueError(f"{path}: the name of a steering file must end in {SUFFIX}")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}; make it first")


def _arrays(path: Path) -> dict[str, np.ndarray]:
    check_arrays(str(path), path)
    with np.load(path, allow_pickle=False) as file:
        return {name: _sound(name, file[name]) for name in file.files}


def _sound(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} is of type {array.dtype}, and only numbers are read")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return array


def _steering(header: Header, arrays: Mapping[str, np.ndarray]) -> Steering:
    def named(name: str) -> np.ndarray:
        if name not in arrays:
            raise ValueError(f"its header names an array {name!r} that it does not hold")
        return arrays[name]

    prefix = named("prefix") if header.has_prefix else None
    if prefix is not None and prefix.ndim != 2:
        raise ValueError(f"its prefix has {prefix.ndim} axes; it must have 2, vectors and width")
    edits = {}
    for each in header.edits:
        values = named(each.values) if each.values else None
        chosen = (each.places, each.heads, each.features)
        edits[each.point] = Edit(each.how, values, each.first, each.last, *chosen)
    return Steering(header.request, header.guidance, prefix, edits)


def _plain(header: Header) -> dict[str, Any]:
    values = {name: getattr(header, name) for name in header.__dataclass_fields__}
    return values | {"edits": [vars(edit) for edit in header.edits]}
