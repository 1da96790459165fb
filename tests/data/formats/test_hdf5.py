"""Is an HDF5 file told by its keys, and a damaged one refused in one line?"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from dt.data.formats.hdf5 import open_hdf5, read_array, reserve
from dt.data.formats.sources import recognise


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.h5"


def write(path: Path, *keys: str) -> None:
    with h5py.File(path, "w") as file:
        for key in keys:
            file[key] = np.zeros(3)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (("episode_0/rewards", "episode_1/rewards"), "minari"),
        (("observations", "actions", "rewards", "terminals", "discrete_action"), "d3rlpy"),
        (("columns", "num_episodes", "version", "rewards_0"), "d3rlpy"),
        (("columns", "total_size", "version", "rewards"), "d3rlpy"),
        (("observations", "actions", "rewards", "terminals", "infos/qpos"), "d4rl"),
        (("rewards",), "d4rl"),  # whose reader says what is missing
    ],
)
def test_the_keys_tell_who_wrote_it(path: Path, keys: tuple[str, ...], expected: str) -> None:
    write(path, *keys)
    assert recognise(path).name == expected


def test_an_unknown_content_is_described(path: Path) -> None:
    write(path, *"abcdefghijk")
    with pytest.raises(ValueError, match=r"log\.h5: .* holds a, b, c, d, e, f, g, h, and 3 more;"):
        recognise(path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_file_cut_short_is_refused(path: Path, share: float) -> None:
    write(path, "observations", "actions", "rewards", "terminals")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"log\.h5: not a readable HDF5 file \(.*\); fetch") as e:
        recognise(path)
    assert "\n" not in str(e.value)


def test_damage_inside_a_compressed_array_is_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        values = np.random.default_rng(0).normal(size=5000)
        file.create_dataset("rewards", data=values, compression="gzip", fletcher32=True)
    damaged = bytearray(path.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 50] = bytes(50)
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="not a readable HDF5 file"), open_hdf5(path) as file:
        read_array(path, file, "rewards")


def test_what_is_reserved_and_not_used_is_given_back(path: Path) -> None:
    write(path, "rewards")
    size = path.stat().st_size
    reserve(path, size, 1 << 20)
    assert path.stat().st_size == size + (1 << 20)
    with h5py.File(path, "a") as file:
        assert file["rewards"].shape == (3,)
    assert path.stat().st_size == size


def test_a_full_disk_is_noticed_before_hdf5_meets_it(path: Path) -> None:
    write(path, "rewards")
    with pytest.raises(OSError, match="space|large"):
        reserve(path, 0, 1 << 60)
    with open_hdf5(path) as file:
        assert read_array(path, file, "rewards").tolist() == [0.0, 0.0, 0.0]


def test_a_group_is_no_array(path: Path) -> None:
    write(path, "rewards/inner")
    with open_hdf5(path) as file, pytest.raises(ValueError, match="has no key 'rewards'"):
        read_array(path, file, "rewards")


def test_a_lone_number_is_no_array_of_rows(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["rewards"] = 1.0
    with open_hdf5(path) as file, pytest.raises(ValueError, match=r"rewards is float64 of shape"):
        read_array(path, file, "rewards")
