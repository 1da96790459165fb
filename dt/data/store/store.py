"""Make a log of any size a file that training maps, once and for all.

A store is a folder: rows.bin (float32, see rows.py), images.bin (uint8, when observations hold
pictures), offsets.npy, returns.npy, and store.json, which says what the numbers mean and holds
a checksum of every 4 MiB. It is made in a folder beside it and renamed when it is whole.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dt.data.default_environment import in_default_environment
from dt.data.formats.frames import USUAL, ColumnNames
from dt.data.formats.sources import open_source, source_files
from dt.data.reference import Reference
from dt.data.store.checksums import checksums_of, first_damage, write_blocks
from dt.data.store.moments import Moments
from dt.data.store.rows import Columns, TrainingData, make_chunks, offsets_of
from dt.data.streams import EpisodeSource
from dt.data.transforms import Transforms
from dt.files import (
    flush_to_disk,
    locked,
    read_json,
    reading,
    shown,
    structured,
    written_whole,
)
from dt.spaces.environments import EnvKwargs
from dt.spaces.text import space_from_text, space_to_text

FORMAT = 3  # 2 had no origins
META, STAMP = "store.json", "stamp.json"
ROWS, IMAGES, OFFSETS, RETURNS = "rows.bin", "images.bin", "offsets.npy", "returns.npy"

OnSteps = Callable[[int], None]


@dataclass(frozen=True)
class _Meta:
    """What store.json says: what the numbers mean, and the checksums of each file's blocks."""

    format: int
    name: str
    observation_space: str
    action_space: str
    env_id: str | None
    env_kwargs: EnvKwargs
    reference: Reference | None
    transforms: Transforms
    notes: tuple[str, ...]
    moments: tuple[int, list[float], list[float], list[float], list[float]]
    origins: list[float]
    checksums: dict[str, list[int]]
    unplayable: str = ""

    @classmethod
    def read(cls, folder: Path) -> _Meta:
        path = folder / META
        try:
            values = read_json(path)
        except ValueError as error:
            raise ValueError(f"{error}; remove {folder}") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            found = values.get("format") if isinstance(values, dict) else None
            what = f"store of format {shown(str(found)[:20])}, not {FORMAT}"
            raise ValueError(f"{folder}: {what}; remove it")
        try:
            return structured(cls, values)
        except ValueError as error:
            raise ValueError(f"{path}: {error}; remove {folder}") from None


def load_training_data(
    source: str,
    transforms: Transforms,
    *,
    env_id: str | None = None,
    env_kwargs: EnvKwargs | None = None,
    default_env: str | None = None,
    reward: str = "",
    columns: ColumnNames = USUAL,
    cache_dir: Path | None = None,
    accept: Callable[[EpisodeSource], None] = lambda opened: None,
    say: Callable[[str], None] = print,
    on_steps: OnSteps = lambda steps: None,
) -> TrainingData:
    """Load what `--data SOURCE` names, as rows: mapped from its store, made the first time.

    Args:
        source, env_id, env_kwargs, reward, columns: as for `open_source`.
        default_env: that of data which names none, unless `env_id` does, or the data state spaces
            that are not its.
        cache_dir: where stores are kept; None reads everything into memory.
        accept: raises a ValueError for a source that shall not be read; it is not asked about a
            store that was made before.
        say: called with a line when another process is waited for.
        on_steps: called with the steps written so far, when a store is made.

    Raises:
        ValueError: for a log that cannot be read, a full disk, or a damaged store.
    """

    def opened_in(env: str | None) -> EpisodeSource:
        return open_source(source, env, env_kwargs, reward, columns)

    def read() -> EpisodeSource:
        opened = opened_in(env_id)
        accept(opened)
        return in_default_environment(opened, default_env, env_kwargs or {}, opened_in)

    if cache_dir is None:
        with reading(source):
            return TrainingData.of(read(), transforms)
    about = {
        "source": source,
        "env_id": env_id,
        "env_kwargs": env_kwargs,
        "default_env": default_env,
        "reward": reward,
        "transforms": dataclasses.asdict(transforms),
        **({} if columns == USUAL else {"columns": dataclasses.asdict(columns)}),
    }
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"--data.cache {cache_dir}: no directory can be made there ({error.strerror}); name "
            f"another, or 'none' to keep the data in memory"
        ) from error
    folder = cache_dir / content_key(source_files(source), about)
    return open_or_build(folder, read, transforms, say=say, on_steps=on_steps)


def content_key(files: list[Path], about: Mapping[str, object]) -> str:
    """Make a name for what these files hold and what is made of it.

    The files' sizes, times of change and first and last 64 KiB stand for their content: to hash
    all of a terabyte would take longer than to train on it.
    """
    digest = hashlib.sha256(json.dumps({"format": FORMAT, **about}, sort_keys=True).encode())
    for path in files:
        stat = path.stat()
        digest.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}".encode())
        with path.open("rb") as file:
            digest.update(file.read(65_536))
            file.seek(max(0, stat.st_size - 65_536))
            digest.update(file.read(65_536))
    return digest.hexdigest()[:24]


def open_or_build(
    folder: Path,
    source: Callable[[], EpisodeSource],
    transforms: Transforms,
    *,
    say: Callable[[str], None] = print,
    on_steps: OnSteps = lambda steps: None,
) -> TrainingData:
    """Open the store in `folder`; one process at a time makes it, if it is not there.

    Args:
        on_steps: called with the steps written so far.

    Raises:
        ValueError: for a log that cannot be read, a full disk, and a store whose bytes changed.
            What was half built is removed.
    """
    if not (folder / META).exists():
        with _only_builder(folder, say):
            if not (folder / META).exists():  # another process may have made it while we waited
                build(folder, source(), transforms, on_steps)
    return open_store(folder)


def build(folder: Path, source: EpisodeSource, transforms: Transforms, on_steps: OnSteps) -> None:
    """Write the store beside `folder`, and rename it when it is whole."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a build that was killed
    try:
        partial.mkdir(parents=True)
        _write(partial, source, transforms, on_steps)
        partial.rename(folder)
    except BaseException as error:  # an interruption too leaves nothing behind
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ValueError(
                f"{folder.parent}: the disk is full while building the training store of "
                f"{source.name}; make room, or name another folder with --data.cache"
            ) from error
        if isinstance(error, Exception) and not isinstance(error, OSError):
            with reading(source.name):
                raise
        raise
    _stamp(folder)


def open_store(folder: Path) -> TrainingData:
    """Map a store. Reads no row, unless its files were touched since they were last verified.

    Raises:
        ValueError: naming the file and block whose bytes are not what was written.
    """
    meta = _Meta.read(folder)
    _verify(folder, meta.checksums)
    with reading(folder / META, f"remove {folder}"):
        return _map(folder, meta)


def _map(folder: Path, meta: _Meta) -> TrainingData:
    observation_space = space_from_text(meta.observation_space)
    action_space = space_from_text(meta.action_space)
    columns = Columns.of(observation_space, action_space)
    offsets = np.load(folder / OFFSETS, allow_pickle=False)
    num_steps = int(offsets[-1])
    num_rows, *moments = meta.moments
    mean, deviations, low, high = (np.array(column, np.float64) for column in moments)
    for column in (mean, deviations, low, high, np.array(meta.origins, np.float64)):
        if column.shape != (columns.return_to_go + 1,) or not np.isfinite(column).all():
            raise ValueError(f"moments are not of {columns.return_to_go + 1} finite numbers each")
    images = None
    if columns.num_pixels:
        shape = (num_steps, columns.num_pixels)
        images = np.memmap(folder / IMAGES, np.uint8, "r", shape=shape)
    return TrainingData(
        name=meta.name,
        rows=np.memmap(folder / ROWS, np.float32, "r", shape=(num_steps, columns.return_to_go + 1)),
        origins=np.array(meta.origins, np.float64),
        images=images,
        offsets=offsets,
        returns=np.load(folder / RETURNS, allow_pickle=False),
        moments=Moments(num_rows, mean, deviations, low, high),
        observation_space=observation_space,
        action_space=action_space,
        env_id=meta.env_id,
        env_kwargs=meta.env_kwargs,
        reference=meta.reference,
        transforms=meta.transforms,
        notes=meta.notes,
        unplayable=meta.unplayable,
        folder=folder,
    )


def _write(folder: Path, source: EpisodeSource, transforms: Transforms, on_steps: OnSteps) -> None:
    lengths, returns = [], []
    moments: Moments | None = None
    checksums: dict[str, list[int]] = {}
    done = 0
    with (
        write_blocks(folder / ROWS, checksums) as write_rows,
        write_blocks(folder / IMAGES, checksums) as write_images,
    ):
        for chunk in make_chunks(source, transforms):
            write_rows(chunk.rows)
            if chunk.images is not None:
                write_images(np.ascontiguousarray(chunk.images))
            own, origins = chunk.moments, chunk.origins
            moments = own if moments is None else moments.merge(own)
            lengths.append(chunk.lengths)
            returns.append(chunk.returns)
            done += len(chunk.rows)
            on_steps(done)
    assert moments is not None  # a source without episodes was refused
    for name, array in (
        (OFFSETS, offsets_of(np.concatenate(lengths))),
        (RETURNS, np.concatenate(returns)),
    ):
        np.save(folder / name, array)
        checksums[name] = checksums_of(folder / name)
    mean, deviations, low, high = (column.tolist() for column in moments[1:])
    meta = _Meta(
        format=FORMAT,
        name=source.name,
        observation_space=space_to_text(source.observation_space),
        action_space=space_to_text(source.action_space),
        env_id=source.env_id,
        env_kwargs=dict(source.env_kwargs),
        reference=source.reference,
        transforms=transforms,
        notes=tuple(source.notes),
        unplayable=source.unplayable,
        moments=(moments.num_rows, mean, deviations, low, high),
        origins=origins.tolist(),
        checksums=checksums,
    )
    (folder / META).write_text(json.dumps(dataclasses.asdict(meta)))
    flush_to_disk(folder / META)


def _verify(folder: Path, checksums: dict[str, list[int]]) -> None:
    """Compare every block, once for each time that the files were touched."""
    stamp = folder / STAMP
    try:
        if stamp.exists() and read_json(stamp) == _state_of(folder):
            return
    except ValueError:
        pass  # no stamp that says anything: every block is compared
    for name, expected in checksums.items():
        damage = first_damage(folder / name, expected)
        if damage is not None:
            raise ValueError(
                f"{folder / name}: the bytes from {damage} on are not those that were written; "
                f"remove {folder} and the next run makes it anew"
            )
    _stamp(folder)


def _state_of(folder: Path) -> dict[str, list[int]]:
    """Size and times of each file: a change of bytes changes them (ctime cannot be set back)."""
    states = {}
    for name in (META, ROWS, IMAGES, OFFSETS, RETURNS):
        try:
            stat = (folder / name).stat()
        except FileNotFoundError:
            continue  # which file is missing, `_verify` finds and says
        states[name] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    return states


def _stamp(folder: Path) -> None:
    """Note that the files as they are now are sound; a store that cannot be written is verified
    anew by every run."""
    try:
        with written_whole(folder / STAMP) as beside:
            beside.write_text(json.dumps(_state_of(folder)))
    except PermissionError:
        pass


@contextmanager
def _only_builder(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the store's lock, after whoever has it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_name(f"{folder.name}.lock")

    def waiting() -> None:
        say(f"another process is building {folder}; waiting for it")

    with locked(path, on_wait=waiting, say=say):
        try:
            yield
        finally:
            with suppress(PermissionError):  # Windows keeps a file that is open
                path.unlink(missing_ok=True)
