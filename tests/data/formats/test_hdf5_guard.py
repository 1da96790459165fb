"""Is an HDF5 file that HDF5 cannot follow refused in one line, and the process left alive?"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

from dt.data.formats import hdf5_guard
from dt.data.formats.hdf5_lengths import bytes_of_any_length
from dt.data.formats.sources import open_source


def log(path: Path) -> bytearray:
    """A D4RL file, whose names stand in a local heap with room left in it."""
    with h5py.File(path, "w") as file:
        file["observations"], file["actions"] = np.zeros((5, 3)), np.zeros((5, 2))
        file["rewards"], file["terminals"] = np.zeros(5), np.arange(5) == 4
    return bytearray(path.read_bytes())


def test_a_list_that_leads_back_to_itself_takes_neither_time_nor_memory(tmp_path: Path) -> None:
    """HDF5 follows the free blocks of a heap, taking memory for each, until there is none."""
    path = tmp_path / "log.hdf5"
    content = log(path)
    assert len(open_source(str(path)).rewards) == 5  # type: ignore[union-attr]
    heap = content.index(b"HEAP")
    first, data = (int.from_bytes(content[heap + at : heap + at + 8], "little") for at in (16, 24))
    content[data + first : data + first + 8] = first.to_bytes(8, "little")
    path.write_bytes(content)
    before = psutil.Process().memory_info().rss
    with pytest.raises(ValueError, match="log.hdf5: not a readable HDF5 file .*; fetch it anew"):
        open_source(str(path))
    assert psutil.Process().memory_info().rss - before < 1 << 28


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGPROF)", "its structure keeps HDF5 busy without end"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "looks at it: SIGSEGV"),
        ("print(json.dumps('no such thing'))", "no such thing"),
        ("sys.exit(3)", "ended with exit code 3"),
    ],
)
def test_what_ends_the_process_that_looks_is_said(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(tmp_path / "log.hdf5")
    walk = tmp_path / "walk.py"
    walk.write_text(f"import json, os, signal, sys\nsys.stdin.readline()\n{script}\n")
    hdf5_guard._stop()
    monkeypatch.setattr(hdf5_guard, "WALK", walk)
    with pytest.raises(ValueError, match=rf"log.hdf5: not a readable HDF5 file \(.*{said}"):
        open_source(str(tmp_path / "log.hdf5"))
    hdf5_guard._stop()


def test_one_that_had_been_idle_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(tmp_path / "log.hdf5")
    walk, again = tmp_path / "walk.py", tmp_path / "again"
    walk.write_text(
        f"import pathlib, sys\nagain = pathlib.Path({str(again)!r})\n"
        "if again.exists():\n    sys.stdin.readline()\n    print('\"\"')\nagain.touch()\n"
    )
    hdf5_guard._stop()
    monkeypatch.setattr(hdf5_guard, "WALK", walk)
    hdf5_guard.require_walkable(tmp_path / "log.hdf5")
    assert again.exists()
    hdf5_guard._stop()
    hdf5_guard.require_walkable(tmp_path / "log.hdf5")  # known already: nobody is asked
    assert hdf5_guard._process is None


@pytest.mark.parametrize("how", [{}, {"chunks": True}, {"chunks": (7,), "compression": "gzip"}])
def test_lengths_are_counted_before_anything_is_read(
    how: dict[str, object], tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "log.hdf5", "w") as file:
        words = file.create_dataset("words", (20,), h5py.string_dtype(), **how)
        vectors = file.create_dataset("vectors", (20,), h5py.vlen_dtype(np.float32), **how)
        for i in range(20):
            words[i], vectors[i] = "a" * i, np.zeros(i, np.float32)
        file["numbers"] = np.zeros(20)
        file.create_dataset("none", (0,), h5py.string_dtype(), maxshape=(None,), chunks=True)
        file["one"] = "some words"
    with h5py.File(tmp_path / "log.hdf5") as file:
        found = {name: bytes_of_any_length(file, file[name].id) for name in file}
    assert found == {"words": 190, "vectors": 760, "numbers": 0, "none": 0, "one": 10}
