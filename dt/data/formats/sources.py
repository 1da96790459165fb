"""Open what `--data SOURCE` names; its content decides which format reads it."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dt.data.episodes import EpisodeDataset
from dt.data.formats import all_formats
from dt.data.formats.format import HEAD_BYTES, Format
from dt.data.formats.frames import USUAL, ColumnNames
from dt.data.formats.glob import Part, one_after_another
from dt.data.streams import EpisodeSource, EpisodeStream
from dt.files import reading
from dt.spaces.environments import EnvKwargs


class Piece(NamedTuple):
    """One file, folder or id of a source, and the format it is in."""

    format: Format
    path: Path  # of an id, its words


def open_source(
    source: str,
    env_id: str | None = None,
    env_kwargs: EnvKwargs | None = None,
    reward: str = "",
    columns: ColumnNames = USUAL,
) -> EpisodeSource:
    """Open a path, a glob, a folder, the id of a local Minari data set, or `format:` one of these.

    Formats that are flat arrays in a file come as an `EpisodeDataset`, those that may be larger
    than memory as an `EpisodeStream`. The files of a glob give their episodes one after another,
    in the order of their names, and must agree in spaces and environment.

    Args:
        source: the name of a format and a colon in front say what the content is (`FORMATS`);
            `hub:ID` is a Minari id that is fetched if it is not there.
        env_id: an environment that replaces the data's own; its spaces must fit the data.
        env_kwargs: for `gymnasium.make`, such as max_episode_steps.
        reward: what a LeRobot data set rewards; by default its column next.reward. Another
            column's name, or "success" or "final" (see `REWARDS` of its reader). Every other format
            has its rewards, and takes no choice.
        columns: of a table, a CSV or Parquet file; every other format has names of its own.

    Raises:
        ValueError: when nothing is there, or no reader knows the content.
    """
    with reading(source):
        parts = [
            Part(str(piece.path), partial(_open, piece, env_id, env_kwargs, reward, columns))
            for piece in find_pieces(source)
        ]
        return parts[0].open() if len(parts) == 1 else one_after_another(source, parts)


def load_dataset(
    source: str,
    env_id: str | None = None,
    env_kwargs: EnvKwargs | None = None,
    reward: str = "",
    columns: ColumnNames = USUAL,
) -> EpisodeDataset:
    """Read all of a source into memory; arguments and errors are those of `open_source`."""
    opened = open_source(source, env_id, env_kwargs, reward, columns)
    return opened.load() if isinstance(opened, EpisodeStream) else opened


def source_files(source: str) -> list[Path]:
    """List the files that a source consists of, sorted by name: its bytes are theirs.

    Raises:
        ValueError: as `open_source`.
    """
    with reading(source):
        found = find_pieces(source)
        return sorted({file for piece in found for file in piece.format.files(piece.path)})


def find_pieces(source: str) -> list[Piece]:
    """Find what a source names, in order, each with the format that its content shows.

    Raises:
        ValueError: when nothing is there, or its content is unknown.
    """
    formats = all_formats()
    prefix, colon, rest = source.partition(":")
    named = next((each for each in formats if colon and each.name == prefix), None)
    where = source if named is None else rest
    path = Path(os.path.expanduser(where))
    if named is not None and not named.file and not named.folder:
        return [Piece(named, Path(where))]
    if where and (path.is_file() or path.is_dir()):
        return [_piece(path, named)]
    if glob.has_magic(where):
        found = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        if not found:
            raise ValueError(f"--data {source}: no file matches")
        return list(dict.fromkeys(_piece(match, named) for match in found))
    for each in formats if named is None else (named,):
        if each.is_id(where):
            return [Piece(each, Path(where))]
    forms = _any_of(each.id for each in formats)
    raise ValueError(f"--data {source}: no such file, and not the form of {forms}")


def recognise(path: Path) -> Format:
    """Find the format of a file's or a folder's content: the first that knows it.

    Raises:
        ValueError: when none does.
    """
    formats = all_formats()
    if path.is_dir():
        for each in formats:
            if each.is_folder(path):
                return each
        raise ValueError(
            f"{path}: a folder with nothing known in it; give "
            f"{_any_of(each.folder for each in formats)}, or a glob of files"
        )
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    for each in formats:
        if each.is_file(path, head):
            return each
    for each in formats:
        if reason := each.explain(path, head):
            raise ValueError(f"{path}: {reason}")
    what = "unknown content" if head else "an empty file"
    known = _any_of([*(each.file for each in formats), *(each.id for each in formats)])
    raise ValueError(f"{path}: {what}; give {known}")


def _piece(path: Path, named: Format | None) -> Piece:
    found = named or recognise(path)
    if path.is_dir() and not found.folder:
        raise ValueError(
            f"--data {found.name}:{path}: is a folder; give a file, or a glob of files"
        )
    return Piece(found, found.whole(path))


def _open(
    piece: Piece,
    env_id: str | None,
    env_kwargs: EnvKwargs | None,
    reward: str,
    columns: ColumnNames,
) -> EpisodeSource:
    read = piece.format.read
    if reward and not piece.format.takes_reward:
        raise ValueError(f"{piece.path}: has its own rewards; leave out reward {reward!r}")
    chosen: dict[str, object] = {"reward": reward} if piece.format.takes_reward else {}
    if piece.format.takes_columns:
        chosen["columns"] = columns
    elif columns != USUAL:
        raise ValueError(
            f"{piece.path}: is no table of columns but {piece.format.name}, which has names of its "
            f"own; leave out the flags that name columns"
        )
    with reading(piece.path):
        return read(piece.path, env_id, env_kwargs, **chosen)


def _any_of(things: Iterable[str]) -> str:
    """Join what there is of some words: "a, b or c"."""
    *some, last = filter(None, things)
    return f"{', '.join(some)} or {last}" if some else last
