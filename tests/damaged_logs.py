"""Draw damaged files of every format of logged episodes, as the bytes of each file by name."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from damage import ESCAPES, Arrays, damaged, odd_array, odd_arrays, odd_json
from gymnasium import spaces
from hypothesis import strategies as st

from dt.data.episodes import Episode, EpisodeDataset
from dt.data.formats.minari_writing import write_minari
from dt.spaces.text import space_to_text

Files: TypeAlias = Mapping[str, bytes]  # of a folder, by their names; one alone has the name "log"

STEPS = 6
BOX, TWO = spaces.Box(-1.0, 1.0, (3,), np.float32), spaces.Discrete(2)


def steps() -> Arrays:
    """Two episodes of three steps."""
    rng = np.random.default_rng(0)
    return {
        "observations": rng.uniform(-1, 1, (STEPS, 3)).astype(np.float32),
        "actions": np.arange(STEPS) % 2,
        "rewards": np.arange(STEPS, dtype=np.float32),
    }


def ends(terminations: str, truncations: str) -> Arrays:
    last = np.arange(STEPS) % 3 == 2
    return {terminations: last, truncations: last & (np.arange(STEPS) > 3)}


EXTRAS: Arrays = {
    "env_id": np.array("CartPole-v1"),
    "env_kwargs": np.array('{"max_episode_steps": 7}'),
    "observation_space": np.array(space_to_text(BOX)),
    "action_space": np.array(space_to_text(TWO)),
    "ref_min": np.array(0.0),
    "ref_max": np.array(9.0),
    "ref_source": np.array("ours"),
    "episode_lengths": np.array([3, 3]),
    "final_observations": np.zeros((2, 3), np.float32),
}


@st.composite
def odd_texts(draw: st.DrawFn, arrays: Arrays) -> Arrays:
    """Damage the JSON that a file keeps in arrays."""
    name = draw(st.sampled_from(("observation_space", "action_space", "env_kwargs")))
    text = draw(odd_json(json.loads(str(EXTRAS[name])))).encode("utf-8", "replace").decode()
    both = {
        "observation_space": EXTRAS["observation_space"],
        "action_space": EXTRAS["action_space"],
    }
    return {**arrays, **both, name: np.array(text)}


def npz_bytes(arrays: Arrays, names: Mapping[str, str] | None = None, method: int = 0) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for key, values in arrays.items():
            member = io.BytesIO()
            np.save(member, values, allow_pickle=True)
            archive.writestr((names or {}).get(key, f"{key}.npy"), member.getvalue())
    return content.getvalue()


@st.composite
def npz_files(draw: st.DrawFn) -> Files:
    arrays = {**steps(), **ends("terminations", "truncations")}
    how = draw(st.sampled_from(("bytes", "arrays", "texts", "names", "member")))
    if how == "bytes":
        return {"log": draw(damaged(npz_bytes({**arrays, **EXTRAS})))}
    if how == "member":  # damaged, in a zip that is whole
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for key, values in arrays.items():
                member = io.BytesIO()
                np.save(member, values)
                whole = member.getvalue()
                odd = key == "observations"
                archive.writestr(f"{key}.npy", draw(damaged(whole)) if odd else whole)
        return {"log": content.getvalue()}
    if how == "arrays":
        arrays = draw(odd_arrays(arrays, tuple(EXTRAS)))
    elif how == "texts":
        arrays = draw(odd_texts(arrays))
    odd_name = draw(
        st.sampled_from(("rewards", "../rewards.npy", f"{ESCAPES}.npy", "a/b.npy", "x.npy", ".npy"))
    )
    names = {draw(st.sampled_from(list(arrays))): odd_name} if how == "names" and arrays else {}
    method = draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)))
    return {"log": npz_bytes(arrays, names, method)}


def hdf5_bytes(values: Mapping[str, Any], **how: Any) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for key, value in values.items():
            try:
                _put(file, key, value, how)
            except (TypeError, ValueError, OSError, KeyError):
                continue  # HDF5 has no such type, or no such name
    return content.getvalue()


def _put(file: h5py.File, key: str, value: Any, how: Mapping[str, Any]) -> None:
    if isinstance(value, str):
        file[key] = value
    elif isinstance(value, h5py.SoftLink | h5py.Empty):
        file[key] = value
    elif value is None:
        file.create_group(key)
    else:
        value = np.asarray(value)
        if value.dtype.kind in "UO":
            file.create_dataset(key, data=value.astype(object), dtype=h5py.string_dtype())
        elif value.ndim and value.size:
            file.create_dataset(key, data=value, **how)
        else:
            file.create_dataset(key, data=value)


@st.composite
def odd_members(draw: st.DrawFn, arrays: Arrays) -> dict[str, Any]:
    """What HDF5 can hold besides arrays."""
    made: dict[str, Any] = dict(arrays)
    key = draw(st.sampled_from(list(arrays)))
    made[key] = draw(
        st.sampled_from((None, h5py.SoftLink(f"/{key}"), h5py.SoftLink("/"), h5py.Empty("f4")))
    )
    return made


@st.composite
def hdf5_files(draw: st.DrawFn, arrays: Arrays, extras: tuple[str, ...] = ()) -> bytes:
    how: dict[str, Any] = draw(
        st.sampled_from(
            ({}, {"chunks": True, "compression": "gzip"}, {"chunks": True, "fletcher32": True})
        )
    )
    kind = draw(st.sampled_from(("bytes", "arrays", "members")))
    if kind == "bytes":
        return draw(damaged(hdf5_bytes(arrays, **how)))
    if kind == "members":
        return hdf5_bytes(draw(odd_members(arrays)), **how)
    return hdf5_bytes(draw(odd_arrays(arrays, extras)), **how)


@st.composite
def d4rl_files(draw: st.DrawFn) -> Files:
    arrays = {**steps(), **ends("terminals", "timeouts")}
    extras = ("next_observations", *(f"metadata/{key}" for key in EXTRAS))
    if draw(st.integers(0, 3)) == 0:
        texts = draw(odd_texts({}))
        arrays |= {f"metadata/{key}": str(value) for key, value in texts.items()}
        return {"log": hdf5_bytes(arrays)}
    return {"log": draw(hdf5_files(arrays, extras))}


@st.composite
def d3rlpy_files(draw: st.DrawFn) -> Files:
    made = steps()
    version = draw(st.sampled_from((1, 2, 20)))
    arrays: Arrays
    if version == 1:
        last = ends("terminals", "episode_terminals")
        arrays = {**made, **last, "discrete_action": np.array(True), "version": np.array("1.0")}
    elif version == 2:
        arrays = {"columns": np.array(["observations", "actions"]), "num_episodes": np.array(2)}
        arrays["version"] = np.array("2.1")
        for index in range(2):
            part = slice(3 * index, 3 * index + 3)
            for key, values in made.items():
                arrays[f"{key}_{index}"] = values[part].reshape(3, -1)
            arrays[f"terminated_{index}"] = np.array(True)
    else:
        arrays = {"columns": np.array(["observations"]), "total_size": np.array(2)}
        arrays["version"] = np.array("2.0")
        arrays |= {key: values.reshape(2, 3, -1) for key, values in made.items()}
        arrays["terminated"] = np.array([1.0, 0.0])
    return {"log": draw(hdf5_files(arrays))}


@st.composite
def kzl_files(draw: st.DrawFn) -> Files:
    made = {**steps(), **ends("terminals", "timeouts")}
    paths: Any = [{key: v[3 * i : 3 * i + 3] for key, v in made.items()} for i in range(2)]
    protocol = draw(st.sampled_from((2, 3, 4, 5)))
    how = draw(st.sampled_from(("bytes", "arrays", "values")))
    if how == "arrays":
        paths[draw(st.integers(0, 1))] = draw(odd_arrays(paths[0], ("next_observations", "x")))
    elif how == "values":
        odd: Any = draw(
            st.sampled_from(
                (None, 1, "x", [1, 2], [[]], {}, {"a": 1}, 2**70, b"x", [None], ESCAPES)
            )
        )
        where = draw(st.sampled_from(("top", "episode", *made)))
        if where == "top":
            paths = odd
        elif where == "episode":
            paths[1] = odd
        else:
            paths[1][where] = odd
    content = pickle.dumps(paths, protocol)
    return {"log": draw(damaged(content)) if how == "bytes" else content}


@cache
def minari_folder() -> dict[str, bytes]:
    made, last = steps(), np.arange(STEPS) % 3 == 2
    episodes = [
        Episode(
            np.concatenate([made["observations"][i : i + 3], np.zeros((1, 3), np.float32)]),
            made["actions"][i : i + 3],
            made["rewards"][i : i + 3].astype(np.float64),
            last[i : i + 3],
            np.zeros(3, bool),
        )
        for i in (0, 3)
    ]
    dataset = EpisodeDataset.from_episodes(
        "log", episodes, observation_space=BOX, action_space=TWO, env_id="CartPole-v1"
    )
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "log"
        write_minari(folder, "log-v0", dataset)
        return {
            str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()
        }


@st.composite
def minari_files(draw: st.DrawFn) -> Files:
    files = dict(minari_folder())
    metadata, data = "data/metadata.json", "data/main_data.hdf5"
    how = draw(st.sampled_from(("json", "json bytes", "bytes", "arrays", "attributes")))
    if how == "json":
        said = draw(odd_json(json.loads(files[metadata])))
        files[metadata] = said.encode("utf-8", "surrogatepass")
    elif how == "json bytes":
        files[metadata] = draw(damaged(files[metadata]))
    elif how == "bytes":
        files[data] = draw(damaged(files[data]))
    else:
        content = io.BytesIO(files[data])
        with h5py.File(content, "r+") as file:
            group = file["episode_1"]
            if how == "attributes":
                name = draw(st.sampled_from(("id", "total_steps", "seed", "options", "x")))
                group.attrs[name] = draw(st.sampled_from((-1, 2**62, "x", 1e30, "", [1, 2])))
            else:
                key = draw(st.sampled_from(("observations", "actions", "rewards", "terminations")))
                odd = draw(odd_array(3))
                if key in group:
                    del group[key]
                try:
                    _put(group, key, odd, {})
                except (TypeError, ValueError, OSError):
                    pass  # HDF5 has no such type
        files[data] = content.getvalue()
    return files


@st.composite
def lerobot_files(draw: st.DrawFn) -> Files:
    made = steps()
    columns: Arrays = {
        "observation.state": made["observations"],
        "action": made["observations"][:, :2].copy(),
        "next.reward": made["rewards"],
        "next.done": np.arange(STEPS) % 3 == 2,
        "episode_index": np.arange(STEPS) // 3,
        "frame_index": np.arange(STEPS) % 3,
    }
    features = {
        key: {"dtype": str(v.dtype), "shape": list(v.shape[1:]) or [1]}
        for key, v in columns.items()
    }
    info = {"codebase_version": "v3.0", "features": features, "fps": 10, "total_episodes": 2}
    how = draw(st.sampled_from(("json", "json bytes", "bytes", "columns", "groups")))
    said = json.dumps(info).encode()
    if how == "json":
        said = draw(odd_json(info)).encode("utf-8", "surrogatepass")
    elif how == "json bytes":
        said = draw(damaged(said))
    elif how == "columns":
        key = draw(st.sampled_from(list(columns)))
        columns[key] = draw(odd_array(STEPS))
    content = io.BytesIO()
    pq.write_table(_table(columns), content, row_group_size=1 if how == "groups" else 100)
    rows = content.getvalue()
    if how in ("bytes", "groups"):
        rows = draw(damaged(rows))
    return {"meta/info.json": said, "data/chunk-000/file-000.parquet": rows}


def _table(columns: Arrays) -> pa.Table:
    made = {}
    for key, values in columns.items():
        if values.dtype.kind in "VcOS" or not values.ndim or len(values) != STEPS:
            made[key] = pa.array([None] * STEPS)
        elif values.ndim == 1:
            made[key] = pa.array(values.astype(values.dtype.newbyteorder("=")))
        else:
            made[key] = pa.array([row.reshape(-1).tolist() for row in values])
    return pa.table(made)


@st.composite
def dqn_files(draw: st.DrawFn) -> Files:
    frames = np.broadcast_to(np.arange(1, STEPS + 1, dtype=np.uint8)[:, None, None], (STEPS, 4, 4))
    arrays: Arrays = {
        "$store$_observation": frames,
        "$store$_action": (np.arange(STEPS) % 3).astype(np.int32),
        "$store$_reward": np.ones(STEPS, np.float32),
        "$store$_terminal": (np.arange(STEPS) % 3 == 2).astype(np.uint8),
        "add_count": np.array(STEPS),
    }
    key = draw(st.sampled_from(list(arrays)))
    how = draw(st.sampled_from(("bytes", "inner bytes", "array")))
    if how == "array":
        arrays[key] = draw(odd_array(STEPS))
    files = {}
    for name, values in arrays.items():
        inner = io.BytesIO()
        np.save(inner, values, allow_pickle=True)
        whole = inner.getvalue()
        if how == "inner bytes" and name == key:
            whole = draw(damaged(whole))
        packed = gzip.compress(whole, 1, mtime=0)
        damage = how == "bytes" and name == key
        files[f"{name}_ckpt.0.gz"] = draw(damaged(packed)) if damage else packed
    return files


FORMATS: dict[str, st.SearchStrategy[Files]] = {
    "npz": npz_files(),
    "d4rl": d4rl_files(),
    "minari": minari_files(),
    "d3rlpy": d3rlpy_files(),
    "kzl": kzl_files(),
    "lerobot": lerobot_files(),
    "dqn": dqn_files(),
}
