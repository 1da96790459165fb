"""Does the card's line *file* say of every format which it is, how large, and what was not run?"""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
from damaged_logs import STEPS, _table, ends, hdf5_bytes, minari_folder, npz_bytes, steps
from damaged_rows import sound_rows
from hunting import place

from dt.cli.data import main
from dt.data.formats import FORMATS
from dt.data.formats.sources import source_files

pq = pytest.importorskip("pyarrow.parquet")


def dqn() -> dict[str, bytes]:
    arrays = {
        "$store$_observation": np.ones((STEPS, 4, 4), np.uint8),
        "$store$_action": (np.arange(STEPS) % 3).astype(np.int32),
        "$store$_reward": np.ones(STEPS, np.float32),
        "$store$_terminal": (np.arange(STEPS) % 3 == 2).astype(np.uint8),
        "add_count": np.array(STEPS),
    }
    files = {}
    for name, values in arrays.items():
        inner = io.BytesIO()
        np.save(inner, values)
        files[f"{name}_ckpt.0.gz"] = gzip.compress(inner.getvalue())
    return files


def lerobot() -> dict[str, bytes]:
    made, number = steps(), np.arange(STEPS)
    columns = {
        "observation.state": made["observations"],
        "action": made["observations"][:, :2].copy(),
        "next.reward": made["rewards"],
        "next.done": number % 3 == 2,
        "episode_index": number // 3,
        "frame_index": number % 3,
    }
    features = {
        key: {"dtype": str(v.dtype), "shape": list(v.shape[1:]) or [1]}
        for key, v in columns.items()
    }
    info = {"codebase_version": "v3.0", "features": features, "fps": 10, "total_episodes": 2}
    rows = io.BytesIO()
    pq.write_table(_table(columns), rows)
    return {
        "meta/info.json": json.dumps(info).encode(),
        "data/chunk-000/file-000.parquet": rows.getvalue(),
    }


def logs() -> dict[str, tuple[str, dict[str, bytes]]]:
    """Files of every format, by the name that the line shall have."""
    made = steps()
    path = {**made, **ends("terminals", "timeouts")}
    last = {**made, **ends("terminals", "episode_terminals")}
    d3rlpy = {**last, "discrete_action": np.array(True), "version": np.array("1.0")}
    rows = sound_rows()
    return {
        "npz": ("npz", {"log": npz_bytes(path)}),
        "buffers": ("npz", rows["buffers"]),
        "d4rl": ("d4rl", {"log": hdf5_bytes(path)}),
        "minari": ("minari", minari_folder()),
        "d3rlpy": ("d3rlpy", {"log": hdf5_bytes(d3rlpy)}),
        "robomimic": ("robomimic", rows["robomimic"]),
        "lists of dicts": ("kzl", rows["lists of dicts"]),
        "lerobot": ("lerobot", lerobot()),
        "dqn": ("dqn-replay", dqn()),
        "csv": ("csv", rows["csv"]),
        "parquet": ("parquet", rows["parquet"]),
    }


KINDS = (
    *("npz", "buffers", "d4rl", "minari", "d3rlpy", "robomimic", "lists of dicts", "lerobot"),
    *("dqn", "csv", "parquet"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_the_line_of_every_format(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    name, files = logs()[kind]
    path = place(tmp_path, files)
    assert main([str(path), "--no-draw"]) == 0
    (line,) = [one for one in capsys.readouterr().out.splitlines() if one.startswith("file")]
    read = source_files(str(path))
    size = sum(each.stat().st_size for each in read) / 1024
    count = "1 file" if len(read) == 1 else f"{len(read)} files"
    pickled = "a pickle, of which nothing was run" if name == "kzl" else "no pickle"
    shown = f"{size:.1f} KiB" if size >= 1 else f"{size * 1024:.0f} bytes"
    said = f"{name}, {count}, {shown}; safe to open: no links to other files, {pickled}"
    assert said in line, (said, line)


def test_no_format_is_left_out() -> None:
    """A new one is to be put among `logs`; the hub's data sets are Minari's."""
    assert {name for name, _ in logs().values()} | {"hub"} == {each.name for each in FORMATS}
