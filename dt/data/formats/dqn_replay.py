"""Read the shards of the DQN replay data set.

Agarwal et al. 2020 logged every frame that a DQN agent saw of an Atari game: 50 shards of a
million steps each, a shard being gzipped `np.save` arrays side by side:
$store$_observation_ckpt.N.gz (rows, 84, 84) of bytes, and the same for action, reward, terminal.

- Observations are unpacked episode by episode; a shard's 7 GB of them are never in memory.
- Episodes end at terminals. A shard's first episode may lack its beginning, which is in the
  shard before; its last one is cut off, and so counts as truncated. Shards are not joined: the
  buffer that wrote them leaves its last row stale.
- Where add_count_ckpt.N.gz lies beside a shard, only the rows it counts are read; what follows
  them is left from the round before.
- Dopamine puts three rows of zeros before each episode, for its frame stacks. They are no steps
  of the game and are left out; so is a cut-off tail of three rows or less.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import gymnasium
import numpy as np
from gymnasium import spaces

from dt.data.episodes import Episode
from dt.data.formats.format import Format
from dt.data.streams import EpisodeStream
from dt.files import first_line, refuse_links_out, require_memory
from dt.spaces.environments import EnvKwargs, environment_spaces

FIELDS = ("observation", "action", "reward", "terminal")
GZIP_MAGIC = b"\x1f\x8b"
MOST_PACKED = 1032  # bytes that deflate can pack into one
PADDING = 3  # rows of zeros before an episode: Dopamine's stack of 4 less 1
_NAME = re.compile(r"^\$store\$_(?:observation|action|reward|terminal)_ckpt\.(\d+)\.gz$")


class Shard(NamedTuple):
    folder: Path
    number: int

    def file(self, field: str) -> Path:
        return self.folder / f"$store$_{field}_ckpt.{self.number}.gz"

    @property
    def counter(self) -> Path:
        return self.folder / f"add_count_ckpt.{self.number}.gz"


def is_shard(path: Path, head: bytes) -> bool:
    """Tell by the name of a gzipped file: its content does not say which array it is."""
    return head.startswith(GZIP_MAGIC) and _NAME.match(path.name) is not None


def find_shards(path: Path) -> list[Shard]:
    """Find the shard that a file belongs to, or all shards of a folder."""
    if not path.is_dir():
        match = _NAME.match(path.name)
        return [Shard(path.parent, int(match[1]))] if match else []
    numbers = {int(match[1]) for file in path.iterdir() if (match := _NAME.match(file.name))}
    return [Shard(path, number) for number in sorted(numbers)]


def _observation_file(path: Path) -> Path:
    """The file that stands for a shard, whichever of its files is named."""
    return next((shard.file("observation") for shard in find_shards(path)), path)


def shard_files(path: Path) -> list[Path]:
    """List the arrays that the episodes are read from.

    Raises:
        ValueError: for an array of a folder that lies elsewhere.
    """
    files = [shard.file(field) for shard in find_shards(path) for field in FIELDS]
    counters = [shard.counter for shard in find_shards(path)]
    refuse_links_out(path if path.is_dir() else path.resolve().parent, [*files, *counters])
    return files


def read_dqn_replay(
    path: Path, env_id: str | None = None, env_kwargs: EnvKwargs | None = None
) -> EpisodeStream:
    """Open a folder of shards, or the shard that one of its files belongs to.

    The observation space is that of single frames, Box(0, 255, (84, 84)); the action space is the
    environment's where one is named, else Discrete(largest + 1).

    Raises:
        ValueError: naming the file that is missing or damaged.
    """
    shards = find_shards(path)
    shard_files(path)  # none of which lies elsewhere
    if not shards:
        raise ValueError(f"{path}: has no $store$_observation_ckpt.N.gz; give a folder of shards")
    shape: tuple[int, ...] | None = None
    num_episodes = largest = 0
    for shard in shards:
        with _RowFile(shard.file("observation")) as array:
            if array.dtype != np.uint8 or len(array.shape) < 2:
                raise ValueError(
                    f"{shard.file('observation')}: holds {array.dtype} of shape {array.shape}; "
                    f"it needs bytes, one frame a row"
                )
            if shape not in (None, array.shape[1:]):
                raise ValueError(
                    f"{shard.file('observation')}: has frames of shape {array.shape[1:]}, others "
                    f"of {shape}; give shards of one run"
                )
            shape = array.shape[1:]
            rows = array.shape[0]
        steps = _read_steps(shard, rows)
        num_episodes += len(_spans(steps["terminal"]))
        largest = max(largest, int(steps["action"].max(initial=0)))
    assert shape is not None
    action_space: gymnasium.Space = spaces.Discrete(largest + 1)
    if env_id is not None:
        _, action_space = environment_spaces(env_id, env_kwargs)

    def episodes() -> Iterator[Episode]:
        for shard in shards:
            yield from _episodes(shard)

    return EpisodeStream(
        name=str(path),
        observation_space=spaces.Box(0, 255, shape, np.uint8),
        action_space=action_space,
        episodes=episodes,
        env_id=env_id,
        env_kwargs=env_kwargs or {},
        num_episodes=num_episodes,
        spaces_inferred=env_id is None,
    )


def _episodes(shard: Shard) -> Iterator[Episode]:
    with _RowFile(shard.file("observation")) as array:
        steps = _read_steps(shard, array.shape[0])
        for start, stop in _spans(steps["terminal"]):
            observations = array.read(stop - start)
            terminal = steps["terminal"][start:stop].astype(bool)
            actions, rewards = steps["action"][start:stop], steps["reward"][start:stop]
            skip = 0
            while skip < PADDING and not (
                observations[skip].any() or actions[skip] or rewards[skip] or terminal[skip]
            ):
                skip += 1
            cut = np.zeros(len(terminal), bool)
            cut[-1] = not terminal[-1]
            yield Episode(
                observations[skip:], actions[skip:], rewards[skip:], terminal[skip:], cut[skip:]
            )


def _spans(terminal: np.ndarray) -> list[tuple[int, int]]:
    """First and last + 1 row of each episode, padding included."""
    stops = (np.flatnonzero(terminal) + 1).tolist()
    starts = [0, *stops]
    if len(terminal) - starts[-1] > PADDING:
        stops.append(len(terminal))
    return list(zip(starts, stops, strict=False))


def _read_steps(shard: Shard, rows: int) -> dict[str, np.ndarray]:
    """The small arrays of a shard whole, without the rows that were not written in its round."""
    steps = {}
    for field in FIELDS[1:]:
        with _RowFile(shard.file(field)) as array:
            if array.shape != (rows,) or array.dtype.kind not in "biuf":
                raise ValueError(
                    f"{shard.file(field)}: holds {array.dtype} of shape {array.shape}; it needs "
                    f"{rows} numbers, as the shard has frames"
                )
            steps[field] = array.read(rows)
    if not np.issubdtype(steps["action"].dtype, np.integer):
        raise ValueError(
            f"{shard.file('action')}: actions are {steps['action'].dtype}; give integers"
        )
    if shard.counter.is_file() and rows:
        with _RowFile(shard.counter) as array:
            if array.shape not in ((), (1,)) or array.dtype.kind not in "iu":
                raise ValueError(
                    f"{shard.counter}: holds {array.dtype} of shape {array.shape}; it needs one "
                    f"integer"
                )
            count = int(array.read(1).reshape(-1)[0])
        steps = {field: values[: count % rows or rows] for field, values in steps.items()}
    return steps


class _RowFile:
    """A gzipped `np.save` file whose rows are unpacked as they are asked for."""

    def __init__(self, path: Path):
        self.path = path
        if not path.is_file():
            raise ValueError(f"{path}: is missing; fetch the whole shard")
        self.file = cast(BinaryIO, gzip.open(path, "rb"))
        try:
            version = np.lib.format.read_magic(self.file)
            read = np.lib.format.read_array_header_1_0
            header = (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(self.file)
        except Exception as error:  # NumPy parses the header as Python's words
            self.file.close()
            raise ValueError(
                f"{path}: not a gzipped NumPy array ({first_line(error)}); fetch it anew"
            ) from error
        self.shape, fortran, self.dtype = header
        size, packed = math.prod(self.shape) * self.dtype.itemsize, path.stat().st_size
        if size > MOST_PACKED * packed or min(self.shape, default=0) < 0:
            self.file.close()
            raise ValueError(
                f"{path}: declares {self.shape} values of {self.dtype}, more than gzip can hold in "
                f"its {packed} bytes; fetch it anew"
            )
        if fortran and len(self.shape) > 1 or self.dtype.hasobject:
            self.file.close()
            raise ValueError(f"{path}: is no plain array in rows; write it anew with np.save")

    def __enter__(self) -> _RowFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def read(self, count: int) -> np.ndarray:
        """Unpack the next rows."""
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        require_memory(f"{self.path}: {count} rows", count * row)
        values = np.empty((count, *self.shape[1:]), self.dtype)
        left = values.reshape(-1).view(np.uint8).data
        try:
            while len(left):
                got = self.file.readinto(left)  # type: ignore[attr-defined]
                if not got:
                    raise EOFError("it ends early")
                left = left[got:]
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(
                f"{self.path}: is cut short or damaged ({first_line(error)}); fetch it anew"
            ) from error
        return values


FORMAT = Format(
    name="dqn-replay",
    file="a shard of DQN replay",
    folder="a folder of DQN replay shards",
    is_file=is_shard,
    is_folder=lambda folder: bool(find_shards(folder)),
    whole=lambda path: path if path.is_dir() else _observation_file(path),
    files=shard_files,
    read=read_dqn_replay,
)
