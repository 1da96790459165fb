"""Does `--data SOURCE` reach the reader that its content needs, or say what it could be?"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dt.data import load_dataset


def write_npz(path: Path, save: Callable[..., None] = np.savez) -> None:
    save(
        path,
        observations=np.arange(10, dtype=np.float32).reshape(5, 2),
        actions=np.zeros((5, 1), np.float32),
        rewards=np.ones(5, np.float32),
        episode_lengths=np.array([3, 2]),
    )


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
    with pytest.raises(ValueError, match=r"log\.npz: unknown content; give an \.npz file or"):
        load_dataset(str(path))


def test_a_zip_without_arrays_is_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "log.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no array")
    with pytest.raises(ValueError, match="unknown content"):
        load_dataset(str(path))


def test_an_empty_file_is_no_npz(tmp_path: Path) -> None:
    (tmp_path / "log.npz").touch()
    with pytest.raises(ValueError, match="unknown content"):
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


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
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
