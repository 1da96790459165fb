"""Does `--data SOURCE` reach the reader that its content needs, or say what it could be?"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces

from dt.data import EpisodeDataset, load_dataset
from dt.data.formats.sources import open_source, source_files
from dt.data.streams import EpisodeStream


def write_npz(path: Path, save: Callable[..., None] = np.savez, **changes: Any) -> None:
    arrays: dict[str, Any] = {
        "observations": np.arange(10, dtype=np.float32).reshape(5, 2),
        "actions": np.zeros((5, 1), np.float32),
        "rewards": np.ones(5, np.float32),
        "episode_lengths": np.array([3, 2]),
    }
    save(path, **{**arrays, **changes})


def write_hdf5(path: Path, **changes: Any) -> None:
    """D4RL's keys, or d3rlpy's with discrete_action among the changes."""
    ends = {"terminals": [0, 0, 1, 0, 1], "timeouts": [0, 0, 0, 0, 0]}
    arrays = {"observations": np.zeros((5, 2)), "actions": np.zeros((5, 1)), "rewards": np.ones(5)}
    with h5py.File(path, "w") as file:
        for key, values in {**arrays, **ends, **changes}.items():
            file[key] = values


def write_pickle(path: Path) -> None:
    arrays = {"observations": np.zeros((5, 2)), "actions": np.zeros((5, 1)), "rewards": np.ones(5)}
    path.write_bytes(pickle.dumps([{**arrays, "terminals": np.zeros(5, bool)}]))


def test_a_path_to_an_npz_is_read(tmp_path: Path) -> None:
    write_npz(tmp_path / "log.npz")
    dataset = load_dataset(str(tmp_path / "log.npz"))
    assert dataset.lengths.tolist() == [3, 2]
    assert dataset.name == str(tmp_path / "log.npz")


def test_a_home_directory_is_written_with_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_npz(tmp_path / "log.npz")
    assert len(load_dataset("~/log.npz")) == 2


def test_an_npz_under_another_name_is_still_an_npz(tmp_path: Path) -> None:
    write_npz(tmp_path / "log.npz")
    (tmp_path / "log.npz").rename(tmp_path / "log-v0")
    assert len(load_dataset(str(tmp_path / "log-v0"))) == 2


def test_text_named_npz_is_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "log.npz"
    path.write_text("observations, actions, rewards\n")
    with pytest.raises(
        ValueError, match=r"log\.npz: unknown content; give an \.npz file, .*D4RL's HDF5, "
    ):
        load_dataset(str(path))


def test_a_zip_without_arrays_is_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "log.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no array")
    with pytest.raises(ValueError, match="unknown content"):
        load_dataset(str(path))


def test_an_empty_file_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "log.npz").touch()
    with pytest.raises(ValueError, match=r"log\.npz: an empty file; give"):
        load_dataset(str(tmp_path / "log.npz"))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_bit_is_refused_by_name_or_did_no_harm(
    save: Callable[..., None], tmp_path: Path
) -> None:
    path = tmp_path / "log.npz"
    write_npz(path, save)
    sound, whole = load_dataset(str(path)), path.read_bytes()
    refused = 0
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 4
        path.write_bytes(damaged)
        try:
            dataset = load_dataset(str(path))
        except ValueError as error:
            assert "log.npz" in str(error)
            refused += 1
        else:  # a time stamp, say
            np.testing.assert_array_equal(dataset.observations, sound.observations)
            np.testing.assert_array_equal(dataset.rewards, sound.rewards)
            np.testing.assert_array_equal(dataset.offsets, sound.offsets)
    assert refused > 50


@pytest.mark.parametrize("source", ["missing.npz", "some where", "", "name-v", "runs/last"])
def test_what_is_neither_a_file_nor_an_id_is_refused_by_name(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"--data {source}: no such file"):
        load_dataset(source)


def test_a_folder_with_nothing_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no data")
    with pytest.raises(ValueError, match=rf"{tmp_path.name}: a folder with nothing known in it"):
        load_dataset(str(tmp_path))


def test_the_form_of_a_minari_id_is_looked_up_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(ValueError, match="nothing/here-v0: no such local Minari data set"):
        load_dataset("nothing/here-v0")


def test_an_environment_given_by_hand_replaces_the_data_s_own(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "log.npz",
        observations=np.zeros((5, 4), np.float32),
        actions=np.array([0, 1, 1, 0, 1]),
        rewards=np.ones(5, np.float32),
        episode_lengths=np.array([5]),
        env_id="Elsewhere-v0",
    )
    source = str(tmp_path / "log.npz")
    assert load_dataset(source).env_id == "Elsewhere-v0"
    dataset = load_dataset(source, "CartPole-v1", {"max_episode_steps": 9})
    assert (dataset.env_id, dataset.env_kwargs) == ("CartPole-v1", {"max_episode_steps": 9})


def test_an_environment_that_does_not_exist_is_named(tmp_path: Path) -> None:
    write_npz(tmp_path / "log.npz")
    with pytest.raises(ValueError, match="cannot make environment 'Nowhere-v7'"):
        load_dataset(str(tmp_path / "log.npz"), "Nowhere-v7")


WRITERS: dict[str, Callable[[Path], None]] = {
    "npz": lambda path: write_npz(path.with_suffix(".npz")),
    "d4rl": write_hdf5,
    "d3rlpy": lambda path: write_hdf5(path, discrete_action=False, version="1.0"),
    "kzl": write_pickle,
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", ["log.npz", "log.hdf5", "log.csv", "log"])
@pytest.mark.parametrize("prefix", [True, False])
def test_the_content_or_the_prefix_decides_and_not_the_name(
    kind: str, name: str, prefix: bool, tmp_path: Path
) -> None:
    WRITERS[kind](tmp_path / "written")
    (written,) = tmp_path.iterdir()
    written.rename(tmp_path / name)
    source = f"{kind}:{tmp_path / name}" if prefix else str(tmp_path / name)
    dataset = open_source(source)
    assert isinstance(dataset, EpisodeDataset)
    assert (dataset.num_steps, dataset.name) == (5, str(tmp_path / name))
    assert source_files(source) == [tmp_path / name]


@pytest.mark.parametrize("name", ["log.hdf5", "log.pkl", "log.parquet", "log.gz"])
def test_words_are_no_data_whatever_they_are_called(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("observations, actions, rewards\n")
    with pytest.raises(ValueError, match=rf"{name}: unknown content; give"):
        open_source(str(tmp_path / name))


@pytest.mark.parametrize("kind", ["d4rl", "d3rlpy", "kzl", "npz"])
def test_a_prefix_does_not_make_words_data(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("observations, actions, rewards\n")
    with pytest.raises(ValueError, match=r"log\.txt: not a readable") as error:
        open_source(f"{kind}:{path}")
    assert "\n" not in str(error.value)


def test_a_parquet_file_alone_is_no_data_set(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    columns = {name: [0] for name in ("episode_index", "frame_index", "task_index")}
    pq.write_table(pytest.importorskip("pyarrow").table(columns), tmp_path / "file-000.parquet")
    with pytest.raises(ValueError, match="is a part of a data set; give LeRobot's folder"):
        open_source(str(tmp_path / "file-000.parquet"))


@pytest.mark.parametrize("kind", ["npz", "d4rl", "d3rlpy", "kzl"])
def test_a_folder_is_no_file(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder; give a file, or a glob of files"):
        open_source(f"{kind}:{tmp_path}")


def test_a_word_that_is_no_format_is_part_of_the_name(tmp_path: Path) -> None:
    write_npz(tmp_path / "a:b.npz")
    assert len(load_dataset(str(tmp_path / "a:b.npz"))) == 2
    with pytest.raises(ValueError, match="--data csv:log: no such file"):
        open_source("csv:log")


def test_the_files_of_a_glob_follow_one_another(tmp_path: Path) -> None:
    for name, lengths in (("b.npz", [4, 1]), ("a.npz", [3, 2]), ("c.npz", [5])):
        write_npz(tmp_path / name, episode_lengths=np.array(lengths))
    stream = open_source(str(tmp_path / "*.npz"))
    assert isinstance(stream, EpisodeStream)
    assert [len(e) for e in stream] == [3, 2, 4, 1, 5]
    assert [len(e) for e in stream] == [3, 2, 4, 1, 5]  # each pass starts anew
    assert stream.num_episodes == 5
    assert load_dataset(str(tmp_path / "*.npz")).lengths.tolist() == [3, 2, 4, 1, 5]
    assert [path.name for path in source_files(str(tmp_path / "*"))] == ["a.npz", "b.npz", "c.npz"]


def test_a_glob_may_go_down_folders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_npz(tmp_path / name / "log.npz")
    assert len(load_dataset(str(tmp_path / "**" / "*.npz"))) == 4
    assert len(load_dataset(f"npz:{tmp_path}/?/log.npz")) == 4


def test_a_glob_of_one_file_is_that_file(tmp_path: Path) -> None:
    write_npz(tmp_path / "log.npz")
    assert open_source(str(tmp_path / "*.npz")).name == str(tmp_path / "log.npz")


def test_a_name_that_looks_like_a_glob_is_a_name_where_it_exists(tmp_path: Path) -> None:
    write_npz(tmp_path / "log[1].npz")
    assert len(load_dataset(str(tmp_path / "log[1].npz"))) == 2


def test_a_glob_that_nothing_matches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--data .*\*\.npz: no file matches"):
        open_source(str(tmp_path / "*.npz"))


def test_guessed_spaces_widen_to_hold_all_files_of_a_glob(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", actions=np.array([0, 1, 1, 0, 0]))
    write_npz(tmp_path / "b.npz", actions=np.array([4, 1, 1, 0, 0]))
    write_npz(tmp_path / "c.npz", actions=np.array([0, 2, 1, 0, 0]))
    assert load_dataset(str(tmp_path / "*.npz")).action_space == spaces.Discrete(5)
    for name, largest in (("a", 0.5), ("b", 1.5), ("c", 0.7)):
        write_npz(tmp_path / f"{name}.npz", actions=np.full((5, 1), largest, np.float32))
    widest = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    assert load_dataset(str(tmp_path / "*.npz")).action_space == widest


DIFFERENT: dict[str, dict[str, Any]] = {
    r"observation_space is Box.*\(3,\).*, but Box.*\(2,\)": {"observations": np.zeros((5, 3))},
    r"action_space is Discrete\(1\), but Box": {"actions": np.zeros(5, np.int64)},
    "env_id is Elsewhere-v0, but None": {"env_id": "Elsewhere-v0"},
    "env_kwargs is {'wind': 1}, but {}": {"env_kwargs": '{"wind": 1}'},
    "reference is Reference.*, but None": {"ref_min": 0.0, "ref_max": 1.0},
}


@pytest.mark.parametrize("message", DIFFERENT)
def test_files_of_a_glob_that_do_not_agree_are_refused(message: str, tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz")
    write_npz(tmp_path / "b.npz", **DIFFERENT[message])
    with pytest.raises(ValueError, match=rf"b\.npz: {message}.*a\.npz; .* must agree") as error:
        open_source(str(tmp_path / "*.npz"))
    assert "\n" not in str(error.value)


def test_spaces_that_files_state_do_not_widen(tmp_path: Path) -> None:
    box = '{"type": "Box", "dtype": "float32", "shape": [2], "low": [-9, -9], "high": [9, 9]}'
    for name, count in (("a", 2), ("b", 3)):
        stated = {"observation_space": box, "action_space": f'{{"type": "Discrete", "n": {count}'}
        stated["action_space"] += ', "start": 0}'
        write_npz(tmp_path / f"{name}.npz", actions=np.zeros(5, np.int64), **stated)
    with pytest.raises(ValueError, match=r"action_space is Discrete\(3\), but Discrete\(2\)"):
        open_source(str(tmp_path / "*.npz"))


@pytest.mark.parametrize("kind", ["d4rl", "kzl"])
def test_a_glob_may_mix_formats_that_agree(kind: str, tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz")
    WRITERS[kind](tmp_path / "b")
    assert load_dataset(str(tmp_path / "*")).num_steps == 10


def test_a_file_of_a_glob_that_is_no_data_is_named(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_text("words")
    with pytest.raises(ValueError, match=r"b\.npz: unknown content"):
        open_source(str(tmp_path / "*.npz"))


def test_a_bad_episode_of_a_glob_names_its_own_file(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz")
    write_npz(tmp_path / "b.npz", rewards=np.array([1, 1, 1, 1, np.nan]))
    with pytest.raises(ValueError, match=r"b\.npz: rewards at episode 1, step 1 is not finite"):
        load_dataset(str(tmp_path / "*.npz"))


def test_a_file_that_may_not_be_read_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The permission is taken away by hand: tests may run as root, who may read all."""
    path = tmp_path / "log.npz"
    write_npz(path)
    usual = Path.open

    def refuse(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self == path:
            raise PermissionError(13, "Permission denied", str(path))
        return usual(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    for ask in (open_source, load_dataset, source_files):
        with pytest.raises(ValueError, match=r"log\.npz: cannot be read \(Permission denied\)"):
            ask(str(path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all")
@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_without_permission_is_one_line(kind: str, tmp_path: Path) -> None:
    WRITERS[kind](tmp_path / "log")
    (path,) = tmp_path.iterdir()
    path.chmod(0)
    for source in (str(path), f"{kind}:{path}", str(tmp_path / "*")):
        with pytest.raises(ValueError, match=r"log.*: (cannot be read|not a readable).*denied"):
            open_source(source)


def test_a_choice_of_reward_is_refused_where_there_is_none(tmp_path: Path) -> None:
    write_npz(tmp_path / "log.npz")
    with pytest.raises(
        ValueError, match=r"log\.npz: has its own rewards; leave out reward 'final'"
    ):
        open_source(str(tmp_path / "log.npz"), reward="final")


def test_the_notes_of_a_reader_are_kept(tmp_path: Path) -> None:
    for name in ("a.hdf5", "b.hdf5"):
        write_hdf5(tmp_path / name, terminals=[0, 1, 0, 1, 0])
    note = "the last 1 steps end in no terminal or timeout and were left out"
    assert load_dataset(str(tmp_path / "a.hdf5")).notes == (note,)
    together = load_dataset(str(tmp_path / "*.hdf5")).notes
    assert together == tuple(f"{tmp_path / name}: {note}" for name in ("a.hdf5", "b.hdf5"))
