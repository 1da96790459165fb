"""Is an HDF5 file told by its keys, and a damaged one refused in one line?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from dt.data.formats.hdf5 import open_hdf5, read_array, reserve
from dt.data.formats.sources import open_source, recognise


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


def write_outside(path: Path, outside: Path, how: str) -> None:
    """Observations that lie in another file, by each way that HDF5 has."""
    rows = np.arange(1200, dtype="f4").reshape(300, 4)
    if how != "missing":
        with h5py.File(outside, "w") as file:
            file["secret"] = rows
    with h5py.File(path, "w") as file:
        if how in ("link", "missing"):
            file["observations"] = h5py.ExternalLink(outside.name, "/secret")
        elif how == "deep link":
            file["other/group/x"] = h5py.ExternalLink(outside.name, "/secret")
            file["observations"] = h5py.SoftLink("/other/group/x")
        elif how == "storage":
            file.create_dataset("observations", (300, 4), "f4", external=[(str(outside), 0, 4800)])
        else:
            layout = h5py.VirtualLayout((300, 4), "f4")
            layout[:] = h5py.VirtualSource(outside.name, "secret", (300, 4))
            file.create_virtual_dataset("observations", layout)
        file["actions"], file["rewards"] = np.zeros((300, 1), "f4"), np.ones(300, "f4")
        file["terminals"], file["timeouts"] = np.zeros(300, bool), np.arange(300) % 10 == 9
        for index in range(2):  # as Minari's episodes
            file[f"episode_{index}"] = h5py.SoftLink("/")


@pytest.mark.parametrize("how", ["link", "missing", "deep link", "storage", "virtual"])
def test_another_file_is_never_read(path: Path, tmp_path: Path, how: str) -> None:
    write_outside(path, tmp_path / "outside.h5", how)
    named = {"storage": "is stored in another file", "virtual": "is a virtual data set"}
    message = named.get(how, "is a link to another file")
    for reader in ("d4rl", "d3rlpy"):
        with pytest.raises(ValueError, match=rf"log\.h5: [\w/]+ {message}") as error:
            open_source(f"{reader}:{path}")
        assert "\n" not in str(error.value)


def test_a_soft_link_within_the_file_is_followed(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["kept/rewards"] = np.arange(3.0)
        file["rewards"] = h5py.SoftLink("/kept/rewards")
        file["nowhere"] = h5py.SoftLink("/gone")
    with open_hdf5(path) as file:
        assert read_array(path, file, "rewards").tolist() == [0.0, 1.0, 2.0]
        with pytest.raises(ValueError, match="has no key 'nowhere'"):
            read_array(path, file, "nowhere")


@pytest.mark.parametrize(
    "how",
    [
        {"shape": (2**40, 4), "chunks": (1024, 4)},
        {"shape": (2**40, 4), "chunks": (1024, 4), "compression": "gzip"},
        {"shape": (2**30, 4)},
        {"shape": (300, 4), "chunks": (100, 4), "compression": "gzip"},
    ],
)
def test_what_was_never_written_is_no_zero(path: Path, how: dict[str, Any]) -> None:
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("rewards", dtype="f4", **how)
        if how["shape"] == (300, 4):
            dataset[:150] = 1  # half of it
    with open_hdf5(path) as file:
        with pytest.raises(ValueError, match=r"log\.h5: rewards declares \(\d+, 4\) values, and"):
            read_array(path, file, "rewards")


def test_what_does_not_fit_in_memory_is_refused_before_it_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks that are written and pack well declare more than any machine has."""
    with h5py.File(path, "w") as file:
        zeros = np.zeros((1 << 15, 1 << 9), np.float64)
        file.create_dataset("rewards", data=zeros, chunks=True, compression="gzip")
    monkeypatch.setattr("dt.files.free_memory", lambda: 1 << 26)
    with open_hdf5(path) as file, pytest.raises(ValueError, match=r"rewards takes 0\.1 GiB of mem"):
        read_array(path, file, "rewards")


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("shape", [(0, 3), (5,), (300, 7), ()])
def test_what_is_whole_is_read(path: Path, shape: tuple[int, ...], compression: str | None) -> None:
    values = np.arange(float(np.prod(shape))).reshape(shape)
    with h5py.File(path, "w") as file:
        how = {"compression": compression, "chunks": True} if shape and shape[0] else {}
        file.create_dataset("rewards", data=values, **how)
    with open_hdf5(path) as file:
        np.testing.assert_array_equal(read_array(path, file, "rewards", in_rows=False), values)


def test_names_that_are_no_text_are_no_obstacle(path: Path) -> None:
    write(path, "rewards")
    with h5py.File(path, "r+") as file:
        file.create_dataset(b"\xff\xfe", data=np.zeros(3))
    assert recognise(path).name == "d4rl"
    with pytest.raises(ValueError, match=r"log\.h5: has no key 'obs.*; it holds rewards, ."):
        open_source(str(path))
