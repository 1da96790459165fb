"""Hold what a Minari data set declares against its files, before memory is taken for it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
from gymnasium import spaces

from dt.data.formats.hdf5 import datasets_in, open_hdf5, require_stored
from dt.data.formats.hdf5_lengths import bytes_of_any_length
from dt.files import first_line, require_memory

if TYPE_CHECKING:
    import h5py


def check_files(
    source: str, folder: Path, metadata: dict[str, Any], compressed: Sequence[gymnasium.Space]
) -> None:
    """See that the files hold what the metadata declares, and lead to no others.

    Args:
        compressed: the spaces whose pictures are compressed in the files.

    Raises:
        ValueError: naming the file, and what in it is not there or takes more than there is.
    """
    pictures = sum(map(_bytes_of_pictures, compressed))
    if metadata["data_format"] == "hdf5":
        path = folder / "main_data.hdf5"
        if not path.is_file():
            raise ValueError(f"{source}: has no {path.name}; fetch it anew")
        with open_hdf5(path) as file:
            held = len(file)
            for name, dataset in datasets_in(file):
                require_memory(f"{path}: {name}", require_stored(path, name, dataset))
                _check_lengths(path, file, name, dataset)
                steps = dataset.shape[0] if dataset.shape else 0
                require_memory(f"{path}: the pictures of {name}", steps * pictures)
    else:
        episodes = [each for each in folder.iterdir() if each.is_dir()]
        held = len(episodes)
        for each in episodes if pictures else ():
            steps = _steps_in(source, each, metadata["data_format"])
            require_memory(f"{each}: the pictures of {steps} steps", steps * pictures)
    if metadata["total_episodes"] > held:
        raise ValueError(
            f"{source}: holds {held} episodes, its metadata says {metadata['total_episodes']}; "
            f"fetch it anew"
        )


@contextmanager
def pictures_of_size(*known: gymnasium.Space) -> Iterator[None]:
    """Let Pillow refuse a picture that declares more than the spaces hold, before it decodes it."""
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max(1, *map(_bytes_of_pictures, known))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _bytes_of_pictures(space: gymnasium.Space) -> int:
    """Count the bytes that Minari's compressed pictures of a step become."""
    from minari.dataset.minari_storage import is_image_space

    if isinstance(space, spaces.Dict):
        return sum(map(_bytes_of_pictures, space.values()))
    if isinstance(space, spaces.Tuple):
        return sum(map(_bytes_of_pictures, space))
    return math.prod(space.shape or ()) if is_image_space(space) else 0


def _steps_in(source: str, folder: Path, data_format: str) -> int:
    import pyarrow
    import pyarrow.dataset

    hidden = ["_", ".", "metadata.json"]
    try:
        episode = pyarrow.dataset.dataset(folder, format=data_format, ignore_prefixes=hidden)
        return int(episode.count_rows())
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ValueError(
            f"{source}: not a readable Minari data set ({first_line(error)}); fetch it anew"
        ) from error


def _check_lengths(path: Path, file: h5py.File, name: str, dataset: h5py.h5d.DatasetID) -> None:
    """Refuse texts and pictures that take more than the file has: many would be one, read often."""
    try:
        size = bytes_of_any_length(file, dataset)
    except ValueError as error:
        raise ValueError(f"{path}: {name} {error}; write it anew") from error
    if size > path.stat().st_size:
        raise ValueError(
            f"{path}: {name} leads to {size:,} bytes of texts or pictures, more than the file has; "
            f"write each of them by itself"
        )
