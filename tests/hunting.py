"""Draw damaged files until the budget is spent, and say what is wrong with how one was read."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from reading_process import Reader

ROUND = 100  # files that are drawn together


@dataclass(frozen=True)
class Drawn:
    """Files by name, of which an error shows no bytes."""

    files: Mapping[str, bytes] = field(repr=False)


@st.composite
def _drawn(draw: st.DrawFn, files: st.SearchStrategy[Mapping[str, bytes]]) -> Drawn:
    return Drawn(draw(files))


def hunt(
    kind: str,
    files: st.SearchStrategy[Mapping[str, bytes]],
    folder: Path,
    reader: Reader,
    examples: int,
    seconds: float = 0.0,
) -> None:
    """Read so many damaged files, or go on for so many seconds.

    Raises:
        AssertionError: with what went wrong, of the smallest file that Hypothesis finds; it is left
            in the folder.
    """

    @given(_drawn(files))
    @settings(
        max_examples=ROUND if seconds else examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    def reads_or_refuses(drawn: Drawn) -> None:
        fault = reader.fault(kind, place(folder, drawn.files))
        assert fault is None, fault

    end, number = time.monotonic() + seconds, 0
    while True:
        hypothesis.seed(number)(reads_or_refuses)()
        number += 1
        if time.monotonic() >= end:
            return


def place(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write the files in place of those before; the path of the one, or of their folder."""
    for before in folder.glob("damaged*"):
        shutil.rmtree(before) if before.is_dir() else before.unlink()
    only = Path(next(iter(files)))
    path = folder / "damaged"
    if only.stem == "log" and len(files) == 1:
        path = path.with_suffix(only.suffix)
        path.write_bytes(files[only.name])
        return path
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path
