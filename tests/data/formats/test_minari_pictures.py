"""Are compressed pictures that become more than the spaces or the memory hold refused unread?"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import minari
import numpy as np
import pytest
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer
from PIL import Image

from dt.data.formats.minari import read_minari

SEEN = spaces.Box(0, 255, (40, 32, 3), np.uint8)


@pytest.fixture(params=["hdf5", "arrow"])
def folder(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Three steps of grey pictures, by Minari itself."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    rows = np.broadcast_to(np.uint8([10, 90, 170, 250])[:, None, None, None], (4, *SEEN.shape))
    buffer = EpisodeBuffer(
        observations=rows,
        actions=np.arange(3) % 2,
        rewards=[1.0] * 3,
        terminations=[False, False, True],
        truncations=[False] * 3,
    )
    with pytest.warns(UserWarning):
        minari.create_dataset_from_buffers(
            "log-v0",
            [buffer],
            observation_space=SEEN,
            action_space=spaces.Discrete(2),
            data_format=request.param,
        )
    yield tmp_path / "log-v0/data"


def test_pictures_come_back(folder: Path) -> None:
    read = read_minari("log-v0").load()
    assert read.observations.shape == (3, *SEEN.shape)
    np.testing.assert_allclose(read.observations[:, 0, 0, 0], [10, 90, 170], atol=2)
    assert Image.MAX_IMAGE_PIXELS == 89_478_485  # Pillow's own, again


def test_more_pictures_than_memory_holds_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a hundred bytes in the file, and as many as there are steps at once in memory."""
    monkeypatch.setattr(
        "dt.data.formats.minari_checks._bytes_of_pictures", lambda space: (1 << 40) // 4
    )
    with pytest.raises(ValueError, match="the pictures of .* takes? .*GiB of memory, and"):
        read_minari("log-v0")


@pytest.mark.parametrize("folder", ["hdf5"], indirect=True)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_that_declares_more_than_the_space_has_is_not_decoded(
    folder: Path, kind: str
) -> None:
    content = io.BytesIO()
    Image.fromarray(np.zeros(SEEN.shape, np.uint8)).save(content, kind)
    picture = bytearray(content.getvalue())
    if kind == "PNG":  # width and height, and the sum of what they stand in
        picture[16:24] = (30_000).to_bytes(4) * 2
        picture[29:33] = zlib.crc32(picture[12:29]).to_bytes(4)
    else:
        at = picture.index(b"\xff\xc0")
        picture[at + 5 : at + 9] = (30_000).to_bytes(2) * 2
    with h5py.File(folder / "main_data.hdf5", "r+") as file:
        group = file["episode_0"]
        kept = [group["observations"][row] for row in range(4)]
        del group["observations"]
        seen = group.create_dataset("observations", (4,), h5py.vlen_dtype(np.uint8))
        for row in range(4):
            seen[row] = kept[row]
        seen[2] = np.frombuffer(bytes(picture), np.uint8)
    with pytest.raises(ValueError, match=r"log-v0: unreadable \(Image size \(900000000 pixels\)"):
        read_minari("log-v0").load()


@pytest.mark.parametrize("folder", ["hdf5"], indirect=True)
def test_one_picture_that_is_named_a_million_times_is_refused(folder: Path) -> None:
    """Compressed, a million times the same place in the file is a kilobyte."""
    count = 1_000_000
    with h5py.File(folder / "main_data.hdf5", "r+") as file:
        group = file["episode_0"]
        picture = group["observations"][0]
        del group["observations"]
        seen = group.create_dataset(
            "observations", (count,), h5py.vlen_dtype(np.uint8), chunks=(count,), compression="gzip"
        )
        seen[0] = picture
        place = zlib.decompress(seen.id.read_direct_chunk((0,))[1])[:16]
        seen.id.write_direct_chunk((0,), zlib.compress(place * count))
    size = (folder / "main_data.hdf5").stat().st_size
    assert size < 1 << 20
    with pytest.raises(ValueError, match=r"episode_0/observations leads to [\d,]+ bytes of texts"):
        read_minari("log-v0")
