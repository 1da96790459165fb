"""What does `--data SOURCE` name, and which reader reads it? The content decides."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces

from dt.data.episodes import Episode, EpisodeDataset
from dt.data.formats.npz import is_npz, read_npz
from dt.data.streams import EpisodeStream
from dt.files import first_line

# Each reader is imported when a source needs it.
FORMATS = ("npz", "d4rl", "kzl", "d3rlpy", "minari", "hub", "lerobot", "dqn-replay")
HDF5_MAGIC, GZIP_MAGIC, PARQUET_MAGIC = b"\x89HDF\r\n\x1a\n", b"\x1f\x8b", b"PAR1"


class Piece(NamedTuple):
    """One file, folder or Minari id of a source, and the format it is in."""

    format: str
    where: str

    @property
    def path(self) -> Path:
        return Path(self.where)


def open_source(
    source: str,
    env_id: str | None = None,
    env_kwargs: dict[str, Any] | None = None,
    reward: str = "",
) -> EpisodeDataset | EpisodeStream:
    """Open a path, a glob, a folder, the id of a local Minari data set, or `format:` one of these.

    Formats that are flat arrays in a file come as an `EpisodeDataset`, those that may be larger
    than memory as an `EpisodeStream`. The files of a glob give their episodes one after another,
    in the order of their names, and must agree in spaces and environment.

    Args:
        source: `format:` in front says what the content is (`FORMATS`); `hub:ID` is a Minari id
            that is fetched if it is not there.
        env_id: an environment that replaces the data's own; its spaces must fit the data.
        env_kwargs: for `gymnasium.make`, such as max_episode_steps.
        reward: what a LeRobot data set rewards; by default its column next.reward. Another
            column's name, or "success" or "final" (see `REWARDS` of its reader). Every other format
            has its rewards, and takes no choice.

    Raises:
        ValueError: when nothing is there, or no reader knows the content.
    """
    with _one_line(source):
        found = find_pieces(source)
        if len(found) == 1:
            return _open(found[0], env_id, env_kwargs, reward)
        return _one_after_another(source, found, env_id, env_kwargs, reward)


def load_dataset(
    source: str,
    env_id: str | None = None,
    env_kwargs: dict[str, Any] | None = None,
    reward: str = "",
) -> EpisodeDataset:
    """All of a source in memory; the arguments and errors are those of `open_source`."""
    opened = open_source(source, env_id, env_kwargs, reward)
    return opened.load() if isinstance(opened, EpisodeStream) else opened


def source_files(source: str) -> list[Path]:
    """The files that a source consists of, sorted by name: its bytes are theirs.

    Raises:
        ValueError: as `open_source`.
    """
    with _one_line(source):
        return sorted(_files(find_pieces(source)))


@contextmanager
def _one_line(source: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise ValueError(
            f"{error.filename or source}: cannot be read ({reason}); change its permissions, or "
            f"copy it where it can be read"
        ) from error


def _files(found: list[Piece]) -> set[Path]:
    files: set[Path] = set()
    for piece in found:
        if piece.format in ("minari", "hub"):
            from dt.data.formats.minari import find_minari

            folder = find_minari(piece.where, fetch=piece.format == "hub")
            files.update(path for path in folder.rglob("*") if path.is_file())
        elif piece.format == "lerobot":
            from dt.data.formats.lerobot import lerobot_files

            files.update(lerobot_files(piece.path))
        elif piece.format == "dqn-replay":
            from dt.data.formats.dqn_replay import shard_files

            files.update(shard_files(piece.path))
        else:
            files.add(piece.path)
    return files


def find_pieces(source: str) -> list[Piece]:
    """What a source names, in order, each with the format that its content shows.

    Raises:
        ValueError: when nothing is there, or its content is unknown.
    """
    prefix, colon, rest = source.partition(":")
    named = prefix if colon and prefix in FORMATS else ""
    where = rest if named else source
    path = Path(os.path.expanduser(where))
    if named == "hub":
        return [Piece("hub", where)]
    if where and (path.is_file() or path.is_dir()):
        return [_piece(path, named)]
    if glob.has_magic(where):
        found = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        if not found:
            raise ValueError(f"--data {source}: no file matches")
        return list(dict.fromkeys(_piece(match, named) for match in found))
    from dt.data.formats.minari import is_minari_id

    if named in ("", "minari") and is_minari_id(where):
        return [Piece("minari", where)]
    raise ValueError(f"--data {source}: no such file, and not the form of a Minari id (name-v0)")


def _piece(path: Path, named: str) -> Piece:
    found = named or (_folder_format(path) if path.is_dir() else _file_format(path))
    if found == "minari" and path.is_file():
        path = path.parent  # main_data.hdf5 says nothing without the metadata.json beside it
    if found == "dqn-replay" and path.is_file():
        from dt.data.formats.dqn_replay import find_shards

        # One piece, whichever of a shard's files are named.
        path = next((shard.file("observation") for shard in find_shards(path)), path)
    if path.is_dir() and found in ("npz", "d4rl", "kzl", "d3rlpy"):
        raise ValueError(f"--data {found}:{path}: is a folder; give a file, or a glob of files")
    return Piece(found, str(path))


def _file_format(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(8)
    if is_npz(path):
        return "npz"
    from dt.data.formats.dqn_replay import is_shard
    from dt.data.formats.kzl import is_pickle

    if head == HDF5_MAGIC:
        from dt.data.formats.hdf5 import hdf5_format

        return hdf5_format(path)
    if is_pickle(head):
        return "kzl"
    if head.startswith(GZIP_MAGIC) and is_shard(path):
        return "dqn-replay"
    if head.startswith(PARQUET_MAGIC):
        raise ValueError(f"{path}: is a part of a data set; give LeRobot's folder that holds meta/")
    what = "an empty file" if not head else "unknown content"
    raise ValueError(
        f"{path}: {what}; give an .npz file, D4RL, d3rlpy or Minari HDF5, a pickle of episodes, "
        f"or a Minari data set id"
    )


def _folder_format(folder: Path) -> str:
    from dt.data.formats.dqn_replay import find_shards
    from dt.data.formats.lerobot import is_lerobot_folder
    from dt.data.formats.minari import is_minari_folder

    if is_lerobot_folder(folder):
        return "lerobot"
    if is_minari_folder(folder):
        return "minari"
    if find_shards(folder):
        return "dqn-replay"
    raise ValueError(
        f"{folder}: a folder with nothing known in it; give a Minari or LeRobot data set's folder, "
        f"one of DQN replay shards, or a glob of files"
    )


def _open(
    piece: Piece, env_id: str | None, env_kwargs: dict[str, Any] | None, reward: str
) -> EpisodeDataset | EpisodeStream:
    if piece.format == "lerobot":
        from dt.data.formats.lerobot import read_lerobot

        return read_lerobot(piece.path, env_id, env_kwargs, reward)
    if reward:
        raise ValueError(f"{piece.where}: has its own rewards; leave out reward {reward!r}")
    if piece.format in ("minari", "hub"):
        from dt.data.formats.minari import find_minari, read_minari

        find_minari(piece.where, fetch=piece.format == "hub")
        return read_minari(piece.where, env_id, env_kwargs)
    if piece.format == "dqn-replay":
        from dt.data.formats.dqn_replay import read_dqn_replay

        return read_dqn_replay(piece.path, env_id, env_kwargs)
    if piece.format == "d4rl":
        from dt.data.formats.d4rl import read_d4rl

        return read_d4rl(piece.path, env_id, env_kwargs)
    if piece.format == "d3rlpy":
        from dt.data.formats.d3rlpy import read_d3rlpy

        return read_d3rlpy(piece.path, env_id, env_kwargs)
    if piece.format == "kzl":
        from dt.data.formats.kzl import read_kzl

        return read_kzl(piece.path, env_id, env_kwargs)
    return read_npz(piece.path, env_id, env_kwargs)


def _one_after_another(
    source: str,
    found: list[Piece],
    env_id: str | None,
    env_kwargs: dict[str, Any] | None,
    reward: str,
) -> EpisodeStream:
    """The episodes of all pieces; one piece is open at a time, in this look and in each pass."""
    said: dict[str, Any] = {}
    shared: dict[str, Any] = {}
    num_episodes: int | None = 0
    notes: list[str] = []
    for piece in found:
        opened = _open(piece, env_id, env_kwargs, reward)
        for name in ("env_id", "env_kwargs", "reference", "spaces_inferred"):
            value = getattr(opened, name)
            if said.setdefault(name, value) != value:
                raise ValueError(
                    f"{piece.where}: {name} is {value}, but {said[name]} in {found[0].where}; "
                    f"the files of a glob must agree"
                )
        for name in ("observation_space", "action_space"):
            space = getattr(opened, name)
            wide = _widened(shared.setdefault(name, space), space, opened.spaces_inferred)
            if wide is None:
                raise ValueError(
                    f"{piece.where}: {name} is {space}, but {shared[name]} in {found[0].where}; "
                    f"the files of a glob must agree"
                )
            shared[name] = wide
        notes += [f"{piece.where}: {note}" for note in opened.notes]
        count = len(opened) if isinstance(opened, EpisodeDataset) else opened.num_episodes
        num_episodes = None if num_episodes is None or count is None else num_episodes + count
        del opened

    def episodes() -> Iterator[Episode]:
        for piece in found:
            yield from _open(piece, env_id, env_kwargs, reward)

    return EpisodeStream(
        name=source,
        episodes=episodes,
        num_episodes=num_episodes,
        notes=tuple(notes),
        **shared,
        **said,
    )


def _widened(
    first: gymnasium.Space, second: gymnasium.Space, inferred: bool
) -> gymnasium.Space | None:
    """The space of both; spaces that were guessed from arrays widen to hold those of all files."""
    if first == second:
        return first
    if not inferred:
        return None
    if isinstance(first, spaces.Discrete) and isinstance(second, spaces.Discrete):
        return first if first.n > second.n else second
    if isinstance(first, spaces.Box) and isinstance(second, spaces.Box):
        if (first.shape, first.dtype) == (second.shape, second.dtype):
            low, high = np.minimum(first.low, second.low), np.maximum(first.high, second.high)
            return spaces.Box(low, high, first.shape, first.dtype.type)
    return None
