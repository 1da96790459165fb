"""CSV and Parquet tables come back as the episodes that were written."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from dt.cli.data import main
from dt.cli.train import parse_train_args
from dt.config import to_json
from dt.config.serialize import from_json
from dt.data.formats.frames import ColumnNames
from dt.data.formats.sources import load_dataset
from dt.data.store.store import load_training_data
from dt.data.transforms import Transforms
from dt.training.inputs import load_data

pandas = pytest.importorskip("pandas")


def frame() -> pandas.DataFrame:
    rng = np.random.default_rng(0)
    return pandas.DataFrame(
        {
            "episode": ["a", "a", "a", "b", "b"],
            "obs_x": rng.normal(size=5),
            "obs_y": rng.normal(size=5),
            "action": [0, 1, 0, 1, 1],
            "reward": rng.uniform(size=5),
            "terminated": [False, False, True, False, False],
        }
    )


def written(path: Path, table: pandas.DataFrame) -> str:
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        pytest.importorskip("pyarrow")
        table.to_parquet(path)
    return str(path)


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_a_table_comes_back(tmp_path: Path, name: str) -> None:
    table = frame()
    dataset = load_dataset(written(tmp_path / name, table))
    np.testing.assert_array_equal(dataset.observations, table[["obs_x", "obs_y"]].to_numpy())
    np.testing.assert_array_equal(dataset.actions, table["action"].to_numpy())
    np.testing.assert_array_equal(dataset.rewards, table["reward"].to_numpy())
    assert dataset.lengths.tolist() == [3, 2]
    assert dataset.terminations.tolist() == [False, False, True, False, False]
    assert dataset.truncations.tolist() == [False, False, False, False, True]
    assert dataset.notes == (
        "understood: obs_x, obs_y as observations, action as actions, reward as rewards, "
        "episode as episodes",
    )


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_flags_end_episodes_too(tmp_path: Path, name: str) -> None:
    table = frame().drop(columns="episode").rename(columns={"terminated": "done"})
    dataset = load_dataset(written(tmp_path / name, table))
    assert dataset.lengths.tolist() == [3, 2]
    assert "done does not say which ends a time limit made" in dataset.notes[1]
    table["timeout"] = table["done"]
    dataset = load_dataset(written(tmp_path / name, table))
    assert not dataset.terminations.any() and dataset.truncations[2]


def test_parquet_cells_may_hold_vectors(tmp_path: Path) -> None:
    table = frame()
    table["observation"] = table[["obs_x", "obs_y"]].to_numpy().tolist()
    path = written(tmp_path / "log.parquet", table.drop(columns=["obs_x", "obs_y"]))
    dataset = load_dataset(path)
    np.testing.assert_array_equal(dataset.observations, table[["obs_x", "obs_y"]].to_numpy())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column begins with obs"),
        ("obs,action,reward,done\n", "has no rows"),
        ("obs,action,reward,done\n1,2,3\n", "line 2 has 3 cells, the first line names 4"),
        ("obs,obs,reward,done\n1,2,3,1\n", "two columns 'obs'"),
        ("obs,action,reward,done\n1,,3,1\n", "column 'action' is empty in row 1"),
        ("obs,action,reward,done\nred,2,3,1\n", "column 'obs' holds <U3; give numbers"),
        ("obs,action,reward\n1,2,3\n", "no column says where episodes end"),
        ("a,b,reward\n1,2,3\n", r"dt.from_frame\(frame, observations="),
    ],
)
def test_what_is_no_table_of_steps_is_one_line(
    tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        load_dataset(str(path))
    if text:
        assert main([str(path), "--no-draw"]) == 2
        error = capsys.readouterr().err
        assert str(path) in error and error.count("\n") == 1


def test_damaged_parquet_and_empty_cells_are_one_line(tmp_path: Path) -> None:
    table = frame()
    path = tmp_path / "log.parquet"
    written(path, table)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="not a readable Parquet file"):
        load_dataset(str(path))
    table.loc[2, "reward"] = None
    table["reward"] = table["reward"].astype("Float64")
    with pytest.raises(ValueError, match="column 'reward' has 1 empty cells"):
        load_dataset(written(path, table))


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_the_card_says_what_is_safe(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / name, frame())
    assert main([path, "--no-draw"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{path.rpartition('.')[2]}, 1 file" in shown and "no pickle" in shown


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_columns_of_any_names_are_chosen_by_flags(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = frame()
    names = {"obs_x": "x", "obs_y": "y", "action": "u", "reward": "r", "episode": "run"}
    path = written(tmp_path / name, table.rename(columns=names | {"terminated": "end"}))
    chosen = ["observations", "y", "x", "actions", "u", "reward", "r", "episode", "run"]
    chosen += ["terminated", "end"]
    fields = ("observations", "actions", "reward", "episode", "terminated")
    flags = [f"--columns.{word}" if word in fields else word for word in chosen]
    assert main([path, "--no-draw", *flags]) == 0
    assert "understood: y, x as observations, u as actions, r as rewards, run as episodes" in (
        " ".join(capsys.readouterr().out.split())
    )
    training = [word.replace("--", "--data.") for word in flags]
    preset, config = parse_train_args(["--data", path, "--data.cache", "none", *training])
    data = load_data(preset, config)
    np.testing.assert_array_equal(data.rows[:, :2], table[["obs_y", "obs_x"]].to_numpy(np.float32))
    assert data.lengths.tolist() == [3, 2]
    assert from_json(json.loads(json.dumps(to_json(config)))) == config
    out = tmp_path / "log.npz"
    assert main(["convert", path, str(out), *flags]) == 0
    capsys.readouterr()
    assert main([str(out), "--no-draw", "--columns.reward", "r"]) == 2
    said = capsys.readouterr().err
    assert "log.npz: is no table of columns but npz" in said and said.count("\n") == 1
    assert main([path, "--no-draw", *flags[:-1], "x"]) == 2
    assert "column 'x' holds 0.1" in capsys.readouterr().err
    assert main([path, "--no-draw", *flags[:-1], "z"]) == 2
    assert "has no column 'z'; it holds run, x" in capsys.readouterr().err


def test_a_store_of_other_columns_is_another(tmp_path: Path) -> None:
    path = written(tmp_path / "log.csv", frame())
    x, both = (
        load_training_data(path, Transforms(), columns=columns, cache_dir=tmp_path / "cache")
        for columns in (ColumnNames(observations=("obs_x",)), ColumnNames())
    )
    assert x.observation_space.shape == () and both.observation_space.shape == (2,)


def test_a_parquet_file_of_a_billion_equal_values_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    count = 1 << 24  # 134 MB of 20 kB; as many more would be as small
    same = pa.table({"obs": pa.array(np.zeros(count)), "act": pa.array(np.zeros(count, np.int32))})
    pq.write_table(same, tmp_path / "log.parquet")
    assert (tmp_path / "log.parquet").stat().st_size < 1 << 20
    monkeypatch.setattr("dt.files.free_memory", lambda: 1 << 27)
    with pytest.raises(ValueError, match="log.parquet takes 0.2 GiB of memory, and 0.1 GiB are"):
        load_dataset(str(tmp_path / "log.parquet"))


def test_a_hundred_thousand_columns_are_not_searched_for_one_by_one(tmp_path: Path) -> None:
    names = [f"obs{number}" for number in range(100_000)]
    lines = [",".join([*names, "action", "reward", "done"]), *[",".join(["0"] * 100_003)] * 2]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    begin = time.process_time()
    assert load_dataset(str(tmp_path / "log.csv")).observations.shape == (2, 100_000)
    assert time.process_time() - begin < 5.0  # half a second on a core
