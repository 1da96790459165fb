"""Do packed images read back as they were, and take the room of their frames alone?"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from dt.collect.journal import Journal
from dt.collect.packing import pack_file
from dt.data.episodes import Episode


def stacks(count: int) -> np.ndarray:
    """Four frames a step that cannot be packed themselves, each in four steps."""
    frames = np.random.default_rng(0).integers(256, size=(count + 3, 84, 84), dtype=np.uint8)
    return np.stack([frames[t : t + 4] for t in range(count)])


def test_a_packed_file_holds_the_same_with_every_frame_once(tmp_path: Path) -> None:
    path, images = tmp_path / "data.hdf5", stacks(60)
    with h5py.File(path, "w") as file:
        file.attrs["total"] = 60
        group = file.create_group("episode_0")
        group.attrs["seed"] = 7
        group.create_dataset("observations", data=images, chunks=True, maxshape=(None, 4, 84, 84))
        group.create_dataset("infos/lives", data=np.arange(61))
        group.create_dataset("rewards", data=np.arange(60.0))
    pack_file(path)
    with h5py.File(path) as file:
        group = file["episode_0"]
        np.testing.assert_array_equal(group["observations"][:], images)
        assert group["observations"].maxshape == (None, 4, 84, 84)
        np.testing.assert_array_equal(group["infos/lives"][:], np.arange(61))
        np.testing.assert_array_equal(group["rewards"][:], np.arange(60.0))
        assert file.attrs["total"] == 60 and group.attrs["seed"] == 7
    once = 63 * 84 * 84
    assert path.stat().st_size < 1.2 * once < images.nbytes / 3
    assert [file.name for file in tmp_path.iterdir()] == ["data.hdf5"]


def test_a_journal_packs_images_and_reads_what_was_not_packed(tmp_path: Path) -> None:
    ends = np.zeros(20, bool)
    images, numbers = stacks(21), np.arange(42.0).reshape(21, 2)
    with Journal(tmp_path / "log") as journal:
        for number, observations in enumerate((images, numbers)):
            journal.append(number, Episode(observations, ends, ends * 1.0, ends, ends))
    assert (tmp_path / "log").stat().st_size < images.nbytes / 3
    with Journal(tmp_path / "log") as journal:
        np.testing.assert_array_equal(journal[0].observations, images)
        np.testing.assert_array_equal(journal[1].observations, numbers)
