"""Draw damaged tables, demonstrations, replay buffers and lists of steps, as the bytes of each."""

from __future__ import annotations

import csv
import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from damage import ESCAPES, Arrays, damaged, odd_array, odd_arrays
from damaged_logs import STEPS, Files, ends, hdf5_bytes, hdf5_files, npz_bytes, steps
from hypothesis import strategies as st

Columns: TypeAlias = dict[str, list[Any]]

ODD_CELLS: tuple[Any, ...] = (
    *(0, -1, 2.5, 2**53 + 1, 2**63, 2**70, 1e300, float("nan"), float("inf"), True, None),
    *("", " ", "nan", "1e999", "True", "1_0", "0x1", "१", "1,5", '"', ESCAPES, "x" * 5000),
    *("9" * 5000, b"x", [], [1.0], [1.0, 2.0], [[1.0]], [None], {"a": 1.0}, "1\n2", "\0", "\ud7ff"),
)
ODD_NAMES = ("episode", "obs", "observation", "action", "reward", "done", "", " ", ESCAPES, "x")


def table() -> Columns:
    """A row a step, of two episodes."""
    made = steps()
    return {
        "episode": [number // 3 for number in range(STEPS)],
        "obs_0": made["observations"][:, 0].tolist(),
        "obs_1": made["observations"][:, 1].tolist(),
        "action": made["actions"].tolist(),
        "reward": made["rewards"].tolist(),
        "terminated": [False, False, True] * 2,
    }


@st.composite
def odd_columns(draw: st.DrawFn) -> tuple[list[str], list[list[Any]]]:
    """Damage cells, columns, names and the number of rows of a table."""
    columns = table()
    names, values = list(columns), list(columns.values())
    for _ in range(draw(st.integers(1, 3))):
        how = draw(st.sampled_from(("cell", "cell", "column", "name", "twice", "drop", "rows")))
        if how == "rows":
            count = draw(st.sampled_from((0, 1, 4)))
            values = [column[:count] for column in values]
        if not names:
            break
        place = draw(st.integers(0, len(names) - 1))
        odd = draw(st.sampled_from(ODD_CELLS))
        if how == "cell" and values[place]:
            values[place] = [*values[place]]
            values[place][draw(st.integers(0, len(values[place]) - 1))] = odd
        elif how == "column":
            values[place] = [odd] * len(values[place])
        elif how == "name":
            names[place] = draw(st.sampled_from(ODD_NAMES))
        elif how == "twice":
            names.append(draw(st.sampled_from((names[place], *ODD_NAMES))))
            values.append(values[place])
        elif how == "drop":
            del names[place], values[place]
    return names, values


@st.composite
def csv_files(draw: st.DrawFn) -> Files:
    how = draw(st.sampled_from(("bytes", "columns", "columns", "lines")))
    names, values = (
        draw(odd_columns()) if how == "columns" else (list(table()), list(table().values()))
    )
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=draw(st.sampled_from(("\n", "\r\n", "\r"))))
    writer.writerows([names, *zip(*values, strict=True)])
    coding = draw(st.sampled_from(("utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1")))
    content = text.getvalue().encode(coding, "replace")
    if how == "lines":
        lines = content.splitlines(keepends=True)
        del lines[draw(st.integers(0, len(lines) - 1))]
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(ODD_LINES)))
        content = b"".join(lines)
    return {"log.csv": draw(damaged(content)) if how == "bytes" else content}


ODD_LINES = (
    *(b"", b"\n", b"\0\n", b"#\n", b",,,,,\n", b"1,2\n", b'"\n', b'1,"2\n', b";;;;;\n"),
    *(b"," * 100000 + b"\n", b"1" * 200000 + b",1,1,1,1,1\n", b"nan,nan,nan,nan,nan,nan\n"),
    b"episode,obs_0,obs_1,action,reward,terminated\n",
)


@st.composite
def parquet_files(draw: st.DrawFn) -> Files:
    how = draw(st.sampled_from(("bytes", "columns", "columns", "arrays", "nested")))
    packed = draw(st.sampled_from(("snappy", "none", "gzip", "zstd")))
    made: list[pa.Array]
    if how == "arrays":
        arrays = draw(odd_arrays({key: np.array(v) for key, v in table().items()}, ("done", "obs")))
        names, made = list(arrays), [_as_arrow(value) for value in arrays.values()]
    elif how == "nested":
        names = ["obs", "action", "reward", "done"]
        made = [_as_arrow(steps()["observations"]), *map(_as_arrow, list(table().values())[3:])]
        place = draw(st.integers(0, 3))
        made[place] = draw(st.sampled_from(NESTED))()
    else:
        names, values = (
            draw(odd_columns()) if how == "columns" else (list(table()), list(table().values()))
        )
        made = [_as_arrow(column) for column in values]
    rows = min((len(each) for each in made), default=0)
    content = io.BytesIO()
    rows_of_group = draw(st.sampled_from((2, 100)))
    written = pa.table([each[:rows] for each in made], names=names)
    pq.write_table(written, content, compression=packed, row_group_size=rows_of_group)
    whole = content.getvalue()
    return {"log.parquet": draw(damaged(whole)) if how == "bytes" else whole}


NESTED: tuple[Callable[[], pa.Array], ...] = (
    lambda: pa.array([[1.0], [1.0, 2.0]] * 3),
    lambda: pa.array([[]] * STEPS, pa.list_(pa.float32())),
    lambda: pa.array([[None, 1.0]] * STEPS),
    lambda: pa.array([{"a": 1.0}] * STEPS),
    lambda: pa.array([[[1.0], [2.0]]] * STEPS),
    lambda: pa.array([[[1.0], []]] * STEPS),
    lambda: pa.array([[("k", 1)]] * STEPS, pa.map_(pa.string(), pa.int64())),
    lambda: pa.array([1] * STEPS, pa.decimal128(38, 2)),
    lambda: pa.array([1] * STEPS, pa.timestamp("us")),
    lambda: pa.array([1] * STEPS, pa.timestamp("s", "Europe/Berlin")),
    lambda: pa.array([2**62] * STEPS, pa.timestamp("s")),
    lambda: pa.array([1] * STEPS, pa.duration("s")),
    lambda: pa.array([1] * STEPS, pa.time64("us")),
    lambda: pa.array([1] * STEPS, pa.date32()),
    lambda: pa.nulls(STEPS),
    lambda: pa.array([b"x"] * STEPS),
    lambda: pa.array([b"xy"] * STEPS, pa.binary(2)),
    lambda: pa.array([ESCAPES] * STEPS).dictionary_encode(),
    lambda: pa.array([1.0] * STEPS, pa.float32()).dictionary_encode(),
    lambda: pa.array(np.ones(STEPS, np.float16)),
    lambda: pa.array([[True, False]] * STEPS),
    lambda: pa.array([["a", "b"]] * STEPS),
    lambda: pa.array([[2**63 + 1]] * STEPS, pa.list_(pa.uint64())),
)


def _as_arrow(values: Any) -> pa.Array:
    """What Parquet holds of these, or nulls."""
    try:
        array = np.asarray(values)
        if array.ndim > 1:
            return pa.array([row.tolist() for row in array])
        return pa.array(values if isinstance(values, list) else np.atleast_1d(array))
    except (pa.ArrowException, ValueError, TypeError, OverflowError, UnicodeError):
        return pa.nulls(STEPS)


def demonstrations() -> Arrays:
    """robomimic's: of each episode what was done, what came of it, and two keys of observations."""
    made, arrays = steps(), {}
    for number in range(2):
        part, where = slice(3 * number, 3 * number + 3), f"data/demo_{number}"
        arrays[f"{where}/actions"] = made["observations"][part, :2]
        arrays[f"{where}/rewards"] = made["rewards"][part]
        arrays[f"{where}/dones"] = np.array([0, 0, 1])
        arrays[f"{where}/obs/eef"] = made["observations"][part]
        arrays[f"{where}/obs/image"] = np.zeros((3, 4, 4, 3), np.uint8)
        arrays[f"{where}/next_obs/eef"] = made["observations"][part]
        arrays[f"{where}/next_obs/image"] = np.zeros((3, 4, 4, 3), np.uint8)
    return arrays


@st.composite
def robomimic_files(draw: st.DrawFn) -> Files:
    arrays: dict[str, Any] = demonstrations()
    if draw(st.booleans()):
        arrays = {key: value for key, value in arrays.items() if not key.endswith("image")}
    if draw(st.integers(0, 3)) == 0:
        odd = draw(st.sampled_from(("data/demo_1", "data/demo_1/obs", "data/demo_0/next_obs")))
        kept = {key: value for key, value in arrays.items() if not key.startswith(odd)}
        return {"log": hdf5_bytes({**kept, odd: draw(st.sampled_from((None, "x", np.zeros(3))))})}
    extras = ("data/demo_7/actions", "data/demo_0/obs/more", "data/demo_x", "mask/train", "data/x")
    return {"log": draw(hdf5_files(arrays, extras))}


def buffer(num_envs: int = 2) -> Arrays:
    """Stable-Baselines3's, of environments side by side."""
    made, last = steps(), ends("dones", "timeouts")
    arrays = {**made, **last, "next_observations": made["observations"]}
    side_by_side = {key: np.stack([value] * num_envs, axis=1) for key, value in arrays.items()}
    return {**side_by_side, "pos": np.array(0), "full": np.array(True)}


@st.composite
def buffer_files(draw: st.DrawFn) -> Files:
    kind = draw(st.sampled_from(("buffer", "buffer", "names", "goals")))
    made, last = steps(), ends("terminals", "timeouts")
    if kind == "buffer":
        arrays = buffer(draw(st.integers(1, 3)))
        key = draw(st.sampled_from(list(arrays)))
        if draw(st.booleans()):
            arrays[key] = draw(odd_array(STEPS))
            if draw(st.booleans()) and arrays[key].ndim:
                arrays[key] = np.stack([arrays[key]] * 2, axis=1)
    elif kind == "names":
        arrays = dict(zip(("obs", "act", "rew"), made.values(), strict=True))
        arrays |= {"done": last["terminals"], "next_obs": made["observations"]}
    else:
        arrays = {"observations": made["observations"], "actions": made["actions"], **last}
    if draw(st.booleans()):
        arrays = draw(odd_arrays(arrays, ("pos", "full", "state", "dones", "done", "timeout")))
    return {"log": npz_bytes(arrays)}


def list_of_steps() -> list[Any]:
    made = steps()
    return [
        {
            "obs": made["observations"][t],
            "action": made["actions"][t],
            "reward": float(t),
            "terminated": t % 3 == 2,
            "truncated": False,
        }
        for t in range(STEPS)
    ]


ODD_VALUES: tuple[Any, ...] = (
    *ODD_CELLS,
    *([[]], {}, [{}], [[1], [2, 3]], 1j, -(2**63), np.bool_(True), np.float16(1.0), np.int8(1)),
    *(np.zeros(0), np.zeros((2, 0)), np.array(1.0), np.array("x"), np.zeros(3, ">f8"), 10**400),
)


@st.composite
def lists_of_dicts(draw: st.DrawFn) -> Files:
    entries = list_of_steps()
    if draw(st.booleans()):  # a dict an episode, of lists
        columns = {key: [step[key] for step in entries[:3]] for key in entries[0]}
        entries = [columns, dict(columns)]
    protocol = draw(st.sampled_from((2, 3, 4, 5)))
    if draw(st.integers(0, 3)) == 0:
        return {"log": draw(damaged(pickle.dumps(entries, protocol)))}
    for _ in range(draw(st.integers(1, 3))):
        odd = draw(st.sampled_from(ODD_VALUES))
        how = draw(st.sampled_from(("entry", "value", "value", "every", "key", "drop", "inner")))
        place = draw(st.integers(0, len(entries) - 1))
        if not isinstance(entries[place], dict):
            continue
        key = draw(st.sampled_from(list(entries[place]) or ["obs"]))
        if how == "entry":
            entries[place] = odd
        elif how == "value":
            entries[place] = {**entries[place], key: odd}
        elif how == "every":
            entries = [{**e, key: odd} if isinstance(e, dict) else e for e in entries]
        elif how == "key":
            name = draw(st.sampled_from((1, None, ESCAPES, "dones", "rewards", ("a",), "state")))
            entries[place] = {**entries[place], name: odd}
        elif how == "drop":
            entries[place] = {k: v for k, v in entries[place].items() if k != key}
        elif isinstance(entries[place].get(key), list):
            inner = entries[place][key]
            entries[place] = {**entries[place], key: [*inner[:1], odd, *inner[2:]]}
    return {"log": pickle.dumps(entries, protocol)}


FORMATS: Mapping[str, st.SearchStrategy[Files]] = {
    "csv": csv_files(),
    "parquet": parquet_files(),
    "robomimic": robomimic_files(),
    "buffers": buffer_files(),
    "lists of dicts": lists_of_dicts(),
}


def sound_rows() -> dict[str, Files]:
    """Make what is damaged, of each kind the whole."""
    columns = table()
    text = io.StringIO(newline="")
    csv.writer(text).writerows([columns, *zip(*columns.values(), strict=True)])
    parquet = io.BytesIO()
    pq.write_table(pa.table(columns), parquet)
    return {
        "csv": {"log.csv": text.getvalue().encode()},
        "parquet": {"log.parquet": parquet.getvalue()},
        "robomimic": {"log": hdf5_bytes(demonstrations())},
        "buffers": {"log": npz_bytes(buffer())},
        "lists of dicts": {"log": pickle.dumps(list_of_steps())},
    }
