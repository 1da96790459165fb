"""CSV and Parquet tables come back as the episodes that were written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dt.cli.data import main
from dt.data.formats.sources import load_dataset

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
