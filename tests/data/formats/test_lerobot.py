"""Are LeRobot's files read as episodes, however the rows are spread over them?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from random_logs import assert_same_steps, episodes

from dt.data import Episode
from dt.data.formats.lerobot import read_lerobot
from dt.data.formats.sources import source_files


def column(values: np.ndarray, fixed: bool = True) -> pa.Array:
    """As the datasets library stores a feature: one number a row bare, vectors as lists."""
    if values.ndim == 1 or values.shape[1] == 1:
        return pa.array(values.reshape(-1))
    flat = pa.array(values.reshape(-1))
    if fixed:
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    offsets = pa.array(np.arange(0, values.size + 1, values.shape[1], dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, flat)


def feature(values: np.ndarray) -> dict[str, Any]:
    return {"dtype": str(values.dtype), "shape": list(values.shape[1:]) or [1], "names": None}


def write(
    folder: Path,
    rows: dict[str, np.ndarray],
    *,
    cuts: list[int] | None = None,
    fixed: bool = True,
    row_group: int = 1 << 20,
    name: str = "chunk-{chunk:03d}/file-{file:03d}.parquet",
    **info: Any,
) -> None:
    """A data set of version 3; the rows go on in a new file at each of the cuts."""
    (folder / "meta").mkdir(parents=True)
    count = len(rows["episode_index"])
    features = {key: feature(values) for key, values in rows.items()}
    features["observation.image"] = {"dtype": "video", "shape": [96, 96, 3], "names": None}
    said = {"codebase_version": "v3.0", "features": features, "fps": 10}
    said["total_episodes"] = len(np.unique(rows["episode_index"]))
    (folder / "meta" / "info.json").write_text(json.dumps({**said, **info}))
    bounds = [0, *(cuts or []), count]
    for number, (start, stop) in enumerate(zip(bounds, bounds[1:], strict=False)):
        table = pa.table({k: column(v[start:stop], fixed) for k, v in rows.items()})
        path = folder / "data" / name.format(chunk=number // 2, file=number % 2, episode=number)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=row_group)


def make_rows(*lengths: int, **changes: Any) -> dict[str, np.ndarray]:
    """Rewards 1, 2, 3, ... over all steps; a change of None removes the column."""
    lengths = lengths or (3, 2)
    count = sum(lengths)
    last = np.isin(np.arange(count), np.cumsum(lengths) - 1)
    rows = {
        "observation.state": np.arange(2.0 * count).reshape(count, 2).astype(np.float32),
        "action": np.full((count, 2), 0.5, np.float32),
        "next.reward": np.arange(1.0, count + 1).astype(np.float32),
        "next.done": last,
        "next.success": last & (np.arange(count) < lengths[0]),
        "episode_index": np.repeat(np.arange(len(lengths)), lengths),
        "frame_index": np.concatenate([np.arange(n) for n in lengths]),
        "timestamp": np.zeros(count, np.float32),
        **changes,
    }
    return {key: values for key, values in rows.items() if values is not None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pushes"


@settings(deadline=None, max_examples=25)
@given(episodes(finals=False, max_episodes=6), st.data(), st.booleans(), st.integers(1, 9))
def test_random_logs_come_back_however_the_rows_are_spread(
    tmp_path_factory: pytest.TempPathFactory,
    logged: list[Episode],
    data: st.DataObject,
    fixed: bool,
    row_group: int,
) -> None:
    folder = tmp_path_factory.mktemp("lerobot") / "log"
    rows = {
        "observation.state": np.concatenate([e.observations for e in logged]),
        "action": np.concatenate([e.actions for e in logged]),
        "next.reward": np.concatenate([e.rewards for e in logged]),
        "next.done": np.concatenate([e.terminations for e in logged]),
        "episode_index": np.repeat(np.arange(len(logged)), [len(e) for e in logged]),
        "frame_index": np.concatenate([np.arange(len(e)) for e in logged]),
    }
    count = len(rows["frame_index"])
    cuts = sorted(data.draw(st.sets(st.integers(1, count - 1), max_size=4)) if count > 1 else [])
    write(folder, rows, cuts=cuts, fixed=fixed, row_group=row_group)
    expected = [
        Episode(e.observations, e.actions, e.rewards, e.terminations, cut)
        for e in logged
        for cut in [(np.arange(len(e)) == len(e) - 1) & ~e.terminations]
    ]
    stream = read_lerobot(folder)
    assert_same_steps(stream, expected)
    assert_same_steps(stream, expected)  # each pass starts anew
    assert stream.num_episodes == len(logged)


def test_what_is_left_out_is_said(folder: Path) -> None:
    write(folder, make_rows(**{"observation.effort": np.zeros((5, 2), np.float32)}))
    stream = read_lerobot(folder)
    assert stream.notes == ("left out: observation.effort, observation.image",)
    assert stream.load().notes == stream.notes
    assert stream.load().lengths.tolist() == [3, 2]


def test_the_environment_s_state_follows_the_robot_s(folder: Path) -> None:
    state = np.full((5, 3), 7.0, np.float32)
    write(folder, make_rows(**{"observation.environment_state": state}))
    dataset = read_lerobot(folder).load()
    assert dataset.observations[0].tolist() == [0.0, 1.0, 7.0, 7.0, 7.0]
    assert dataset.observation_space.shape == (5,)


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        ("", [1.0, 2.0, 3.0, 4.0, 5.0]),
        ("next.reward", [1.0, 2.0, 3.0, 4.0, 5.0]),
        ("final", [0.0, 0.0, 3.0, 0.0, 5.0]),
        ("success", [0.0, 0.0, 1.0, 0.0, 0.0]),
        ("timestamp", [0.0] * 5),
        ("next.success", [0.0, 0.0, 1.0, 0.0, 0.0]),
    ],
)
def test_the_reward_is_a_choice(folder: Path, reward: str, expected: list[float]) -> None:
    write(folder, make_rows())
    assert read_lerobot(folder, reward=reward).load().rewards.tolist() == expected


def test_success_before_the_last_step_counts_at_the_last(folder: Path) -> None:
    write(folder, make_rows(**{"next.success": np.array([True, False, False, False, False])}))
    rewards = read_lerobot(folder, reward="success").load().rewards
    assert rewards.tolist() == [0.0, 0.0, 1.0, 0.0, 0.0]


def test_without_a_reward_the_choices_are_named(folder: Path) -> None:
    write(folder, make_rows(**{"next.reward": None}))
    with pytest.raises(ValueError, match=r"no reward column 'next.reward' of one number; it holds"):
        read_lerobot(folder)
    assert read_lerobot(folder, reward="success").load().returns.tolist() == [1.0, 0.0]


def test_a_reward_of_several_numbers_is_refused(folder: Path) -> None:
    write(folder, make_rows())
    with pytest.raises(ValueError, match="no reward column 'action' of one number"):
        read_lerobot(folder, reward="action")


def test_the_action_space_fits_the_actions_of_all_files(folder: Path) -> None:
    actions = np.array([0.5, 0.5, 0.5, 0.5, 1.5], np.float32)[:, None] * np.ones(2, np.float32)
    write(folder, make_rows(action=actions), cuts=[3])
    stream = read_lerobot(folder)
    assert stream.action_space == spaces.Box(-np.inf, np.inf, (2,), np.float32)
    assert stream.spaces_inferred


def test_one_whole_number_an_action_is_discrete(folder: Path) -> None:
    write(folder, make_rows(action=np.array([0, 1, 2, 3, 0])), cuts=[2])
    dataset = read_lerobot(folder).load()
    assert dataset.action_space == spaces.Discrete(4)
    assert dataset.actions.tolist() == [0, 1, 2, 3, 0]


def test_without_next_done_every_episode_is_truncated(folder: Path) -> None:
    write(folder, make_rows(**{"next.done": None}))
    dataset = read_lerobot(folder).load()
    assert not dataset.terminations.any()
    assert np.flatnonzero(dataset.truncations).tolist() == [2, 4]


def test_version_2_has_a_file_for_each_episode(folder: Path) -> None:
    name = "chunk-000/episode_{episode:06d}.parquet"
    write(folder, make_rows(3, 2, 4), cuts=[3, 5], name=name)
    assert read_lerobot(folder).load().lengths.tolist() == [3, 2, 4]


def test_rows_are_read_a_part_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dt.data.formats.lerobot.ROWS", 2)
    write(folder, make_rows(5, 1, 4))
    dataset = read_lerobot(folder).load()
    assert dataset.lengths.tolist() == [5, 1, 4]
    assert dataset.rewards.tolist() == [float(i) for i in range(1, 11)]


def test_the_files_are_the_list_of_features_and_the_rows(folder: Path) -> None:
    write(folder, make_rows(), cuts=[3])
    (folder / "videos").mkdir()
    (folder / "videos" / "film.mp4").touch()
    names = [path.relative_to(folder).as_posix() for path in source_files(str(folder))]
    files = [f"data/chunk-000/file-00{n}.parquet" for n in (0, 1)]
    assert names == [*files, "meta/info.json"]


@pytest.mark.parametrize("key", ["observation.state", "action", "episode_index", "frame_index"])
def test_a_missing_feature_is_named(folder: Path, key: str) -> None:
    rows = make_rows()
    write(folder, rows)
    info = json.loads((folder / "meta" / "info.json").read_text())
    del info["features"][key]
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match=rf"pushes: has no feature '{key}'; it holds "):
        read_lerobot(folder)


def test_a_column_that_a_file_lacks_is_named(folder: Path) -> None:
    write(folder, make_rows())
    (file,) = folder.rglob("*.parquet")
    pq.write_table(pq.read_table(file).drop_columns("next.reward"), file)
    with pytest.raises(ValueError, match=r"file-000\.parquet: has no column 'next.reward'"):
        list(read_lerobot(folder))


def test_a_missing_file_is_noticed_by_the_number_of_episodes(folder: Path) -> None:
    write(folder, make_rows(), cuts=[3])
    (folder / "data" / "chunk-000" / "file-001.parquet").unlink()
    with pytest.raises(ValueError, match=r"holds 1 episodes, meta/info\.json says 2; fetch"):
        list(read_lerobot(folder))


def test_lists_of_another_width_are_refused(folder: Path) -> None:
    write(folder, make_rows())
    info = json.loads((folder / "meta" / "info.json").read_text())
    info["features"]["action"]["shape"] = [3]
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match="action has 10 numbers in 5 rows, .* says 3 a row"):
        read_lerobot(folder)


def test_empty_rows_are_refused(folder: Path) -> None:
    write(folder, make_rows())
    (file,) = folder.rglob("*.parquet")
    table = pq.read_table(file)
    rewards = pa.array([1.0, None, 3.0, 4.0, 5.0], pa.float32())
    place = table.schema.get_field_index("next.reward")
    pq.write_table(table.set_column(place, "next.reward", rewards), file)
    with pytest.raises(ValueError, match="next.reward has 1 empty rows; repair the file"):
        list(read_lerobot(folder))


def test_an_episode_that_comes_back_is_refused(folder: Path) -> None:
    rows = make_rows(2, 2, 2, episode_index=np.array([0, 0, 1, 1, 0, 0]))
    write(folder, rows)
    with pytest.raises(ValueError, match="episode_index 0 comes back after other episodes"):
        list(read_lerobot(folder))


def test_a_lost_row_is_refused(folder: Path) -> None:
    write(folder, make_rows(3, 2, frame_index=np.array([0, 1, 2, 0, 2])))
    with pytest.raises(ValueError, match="episode_index 1 has frame_index 2 at its step 1"):
        list(read_lerobot(folder))


def test_a_number_that_is_not_finite_names_episode_and_step(folder: Path) -> None:
    rows = make_rows()
    rows["observation.state"][4, 0] = np.nan
    write(folder, rows)
    with pytest.raises(ValueError, match="pushes: observations at episode 1, step 1 is not finite"):
        list(read_lerobot(folder))


@pytest.mark.parametrize("text", ["", "[]", '{"features": {"action": {}}}'])
def test_a_damaged_list_of_features_is_refused(folder: Path, text: str) -> None:
    write(folder, make_rows())
    (folder / "meta" / "info.json").write_text(text)
    with pytest.raises(ValueError, match=r"info\.json: not LeRobot's list of features"):
        read_lerobot(folder)


def test_a_parquet_file_cut_short_is_refused(folder: Path) -> None:
    write(folder, make_rows())
    (file,) = folder.rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"file-000\.parquet: not a readable parquet file") as e:
        read_lerobot(folder)
    assert "\n" not in str(e.value)


def test_no_rows_are_refused(folder: Path) -> None:
    write(folder, {key: values[:0] for key, values in make_rows().items()})
    with pytest.raises(ValueError, match="pushes: holds no episode"):
        read_lerobot(folder)
    (file,) = folder.rglob("*.parquet")
    file.unlink()
    with pytest.raises(ValueError, match=r"pushes: has no data/\*/\*\.parquet; fetch it anew"):
        read_lerobot(folder)


def test_without_pyarrow_its_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, make_rows())
    monkeypatch.setattr("dt.data.formats.lerobot.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs pyarrow; pip install 'dt-steer\[lerobot\]'"):
        read_lerobot(folder)


@pytest.mark.parametrize("name", ["meta/info.json", "data/chunk-000/file-000.parquet"])
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    rows = {
        "observation.state": np.zeros((3, 2), np.float32),
        "action": np.zeros((3, 2), np.float32),
        "next.reward": np.ones(3, np.float32),
        "episode_index": np.zeros(3, np.int64),
        "frame_index": np.arange(3),
    }
    for folder in ("log", "other"):
        write(tmp_path / folder, rows)
    (tmp_path / "log" / name).unlink()
    (tmp_path / "log" / name).symlink_to(tmp_path / "other" / name)
    with pytest.raises(ValueError, match=rf"log/{name}: is a link to .*other/{name}, outside"):
        read_lerobot(tmp_path / "log")
    with pytest.raises(ValueError, match="is a link to"):
        source_files(str(tmp_path / "log"))


def test_rows_that_the_file_only_declares_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One value, repeated, takes hardly a byte; numbered steps do."""
    count = 200_000
    monkeypatch.setattr("dt.data.formats.lerobot.MOST_ROWS", 10)  # PyArrow writes some, though
    rows = {
        "observation.state": np.zeros((3, 1), np.float32),
        "action": np.zeros((3, 1), np.float32),
        "next.reward": np.ones(3, np.float32),
        "episode_index": np.zeros(3, np.int64),
        "frame_index": np.arange(3),
    }
    write(tmp_path / "log", rows)
    table = pa.table({key: pa.array(np.zeros(count, v.dtype)) for key, v in rows.items()})
    path = tmp_path / "log" / "data" / "chunk-000" / "file-000.parquet"
    pq.write_table(table, path, compression="zstd", row_group_size=count, data_page_size=1 << 30)
    with pytest.raises(ValueError, match=r"file-000\.parquet: declares 200000 rows in \d+ bytes"):
        read_lerobot(tmp_path / "log").load()
