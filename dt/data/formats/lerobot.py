"""Read the folders of LeRobot data sets.

Version 3: meta/info.json lists the features, data/chunk-000/file-000.parquet holds the rows of
many episodes (version 2's files of one episode each are read too). Read here:

- observations: observation.state, followed by observation.environment_state where there is one.
  Videos, images and everything else are left out, and a note names them.
- rewards: next.reward, unless another choice is made (`REWARDS`).
- ends: where episode_index changes; terminated where next.done is true there, otherwise truncated.

Actions of one integer are discrete. No environment is named in the files.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import gymnasium
import numpy as np

from dt.data.episodes import Episode
from dt.data.formats.format import Format
from dt.data.streams import EpisodeStream, cut_ends
from dt.files import first_line, read_json, refuse_links_out, require_memory, shown
from dt.spaces.environments import EnvKwargs, environment_spaces
from dt.spaces.infer import infer_spaces

if TYPE_CHECKING:
    import pyarrow

OBSERVATIONS = ("observation.state", "observation.environment_state")
INDICES = ("episode_index", "frame_index")
# What `reward` may be: nothing, these two words, or the name of a column with one number a step.
REWARDS = {
    "": "next.reward, step by step",
    "final": "the episode's last next.reward, at its last step alone",
    "success": "1 at the last step of an episode in which next.success is ever true",
}
# Columns that are bookkeeping, so that leaving them out is no news.
KEEPING = {"timestamp", "index", "task_index", "next.done", "next.success", "next.reward"}
ROWS = 16384  # of a file held at once
MOST_WIDTH = 1 << 28  # of one axis of a feature
MOST_ROWS = 1000  # in a byte of a file, whose rows are numbered
PARQUET_MAGIC = b"PAR1"

Columns: TypeAlias = dict[str, np.ndarray]
Feature: TypeAlias = dict[str, Any]  # as meta/info.json describes it
Features: TypeAlias = dict[str, Feature]  # by name


def is_lerobot_folder(folder: Path) -> bool:
    """Tell by the list of features within."""
    return (folder / "meta" / "info.json").is_file()


def lerobot_files(folder: Path) -> list[Path]:
    """List the files that hold what is read here, in the order of their episodes.

    Raises:
        ValueError: for a file that lies elsewhere.
    """
    files = [folder / "meta" / "info.json", *sorted((folder / "data").glob("*/*.parquet"))]
    refuse_links_out(folder, files)
    return files


def read_lerobot(
    folder: Path,
    env_id: str | None = None,
    env_kwargs: EnvKwargs | None = None,
    reward: str = "",
) -> EpisodeStream:
    """Open a data set's folder; its files are read a part at a time.

    Args:
        reward: a key of `REWARDS`, or a column.

    Raises:
        ValueError: naming the folder and what is missing.
    """
    if find_spec("pyarrow") is None:
        raise ValueError(f"{folder}: parquet needs pyarrow; pip install 'dt-steer[lerobot]'")
    files = lerobot_files(folder)[1:]
    features, num_episodes = _read_info(folder)
    if not files:
        raise ValueError(f"{folder}: has no data/*/*.parquet; fetch it anew")
    observed = [key for key in OBSERVATIONS if key in features]
    for key in (*(observed or OBSERVATIONS[:1]), "action", *INDICES):
        _check_feature(folder, features, key)
    rewarded = {"": "next.reward", "final": "next.reward", "success": "next.success"}.get(
        reward, reward
    )
    if rewarded not in features or _width(features[rewarded]) != 1:
        raise ValueError(
            f"{folder}: has no reward column {rewarded!r} of one number; it holds "
            f"{', '.join(sorted(features))}; choose one of them, 'final' or 'success'"
        )
    ended = ["next.done"] if "next.done" in features else []
    columns = [*observed, "action", rewarded, *ended, *INDICES]
    left_out = sorted(features.keys() - set(columns) - KEEPING)
    kwargs = env_kwargs or {}
    if env_id is not None:
        observation_space, action_space = environment_spaces(env_id, kwargs)
    else:
        observation_space, action_space = _infer(folder, files, features, observed)

    def episodes() -> Iterator[Episode]:
        for rows in _episode_rows(folder, files, features, columns, num_episodes):
            yield _episode(rows, observed, rewarded, reward)

    return EpisodeStream(
        name=str(folder),
        observation_space=observation_space,
        action_space=action_space,
        episodes=episodes,
        env_id=env_id,
        env_kwargs=kwargs,
        num_episodes=num_episodes,
        spaces_inferred=env_id is None,
        notes=(f"left out: {', '.join(left_out)}",) if left_out else (),
    )


def _read_info(folder: Path) -> tuple[Features, int | None]:
    """The features by name, and the number of episodes."""
    path = folder / "meta" / "info.json"
    try:
        info = read_json(path)
        features, count = dict(info["features"]), info.get("total_episodes")
        for name, feature in features.items():
            shape = feature["shape"]
            if not isinstance(feature["dtype"], str) or not all(
                type(size) is int and 0 <= size < MOST_WIDTH for size in shape
            ):
                raise ValueError(f"{name} has no dtype and shape")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: not LeRobot's list of features ({shown(first_line(error))}); fetch it anew"
        ) from error
    return features, count if isinstance(count, int) else None


def _width(feature: Feature) -> int | None:
    """Numbers a step; None for what is no vector of numbers."""
    shape = feature["shape"]
    numbers = feature["dtype"].startswith(("float", "int", "uint", "bool"))
    return shape[0] if numbers and len(shape) == 1 else None


def _check_feature(folder: Path, features: Features, key: str) -> None:
    if key not in features:
        raise ValueError(
            f"{folder}: has no feature {key!r}; it holds {', '.join(sorted(features))}"
        )
    if _width(features[key]) is None:
        raise ValueError(
            f"{folder}: {key} is {features[key]['dtype']} of shape {features[key]['shape']}; "
            f"this version reads vectors of numbers"
        )


def _batches(file: Path, features: Features, columns: list[str]) -> Iterator[Columns]:
    """Rows of one file, part by part, as arrays of one number or one vector a row."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as parquet:
            rows, size = parquet.metadata.num_rows, file.stat().st_size
            if rows > MOST_ROWS * size:
                raise ValueError(
                    f"{file}: declares {rows} rows in {size} bytes, more than numbered steps take; "
                    f"fetch it anew"
                )
            if parquet.metadata.num_row_groups > 1 + rows:
                raise ValueError(
                    f"{file}: declares {parquet.metadata.num_row_groups} groups of {rows} rows; "
                    f"fetch it anew"
                )
            missing = set(columns) - set(parquet.schema_arrow.names)
            if missing:
                raise ValueError(f"{file}: has no column {min(missing)!r}; fetch it anew")
            for batch in parquet.iter_batches(ROWS, columns=columns):
                yield {
                    key: _array(file, key, batch.column(key), _width(features[key]))
                    for key in columns
                }
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(
            f"{file}: not a readable parquet file ({first_line(error)}); fetch it anew"
        ) from error


def _array(file: Path, key: str, column: pyarrow.Array, width: int | None) -> np.ndarray:
    """A column as (rows,) numbers, or (rows, width) where it holds lists."""
    if column.null_count:
        raise ValueError(f"{file}: {key} has {column.null_count} empty rows; repair the file")
    if not column.type.num_fields:  # no list
        return column.to_numpy(zero_copy_only=False)
    values = column.flatten()
    if values.null_count or len(values) != len(column) * (width or 0):
        raise ValueError(
            f"{file}: {key} has {len(values)} numbers in {len(column)} rows, meta/info.json says "
            f"{width} a row; repair the file"
        )
    return values.to_numpy(zero_copy_only=False).reshape(len(column), -1)


def _episode_rows(
    folder: Path,
    files: list[Path],
    features: Features,
    columns: list[str],
    num_episodes: int | None,
) -> Iterator[Columns]:
    """The rows of each episode, which may go on in the next part or the next file."""
    held: list[Columns] = []
    done: set[int] = set()
    for file in files:
        for batch in _batches(file, features, columns):
            for key in INDICES:
                if batch[key].dtype.kind not in "iu" or batch[key].size != len(batch[key]):
                    raise ValueError(f"{file}: {key} is no column of integers; repair the file")
            index = batch["episode_index"].reshape(-1)
            if not len(index):
                continue
            cuts = np.flatnonzero(np.diff(index)) + 1
            for start, stop in zip([0, *cuts], [*cuts, len(index)], strict=True):
                part = {key: values[start:stop] for key, values in batch.items()}
                if held and int(held[-1]["episode_index"].flat[0]) != int(index[start]):
                    yield _joined(file, held, done)
                    held = []
                held.append(part)
                require_memory(
                    f"{file}: episode {index[start]}",
                    2 * len(held) * sum(values.nbytes for values in part.values()),
                )
    if held:
        yield _joined(files[-1], held, done)
    if num_episodes is not None and len(done) != num_episodes:
        raise ValueError(
            f"{folder}: holds {len(done)} episodes, meta/info.json says {num_episodes}; fetch the "
            f"files that are missing"
        )


def _joined(file: Path, parts: list[Columns], done: set[int]) -> Columns:
    rows = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    index, frames = int(rows["episode_index"].flat[0]), rows["frame_index"].reshape(-1)
    if index in done:
        raise ValueError(
            f"{file}: episode_index {index} comes back after other episodes; sort the rows"
        )
    wrong = np.flatnonzero(frames != np.arange(len(frames)))
    if len(wrong):
        raise ValueError(
            f"{file}: episode_index {index} has frame_index {frames[wrong[0]]} at its step "
            f"{wrong[0]}; its rows are missing or not in order"
        )
    done.add(index)
    return rows


def _episode(rows: Columns, observed: list[str], rewarded: str, reward: str) -> Episode:
    count = len(rows["frame_index"])
    observations = np.concatenate([rows[key].reshape(count, -1) for key in observed], axis=1)
    rewards = rows[rewarded].reshape(-1)
    if reward in ("final", "success"):
        last = float(rewards.any()) if reward == "success" else rewards[-1]
        rewards = np.zeros(count, np.float32 if reward == "success" else rewards.dtype)
        rewards[-1] = last
    elif rewards.dtype == bool:
        rewards = rewards.astype(np.float32)
    done = rows.get("next.done", np.zeros(count, bool)).reshape(-1)
    ends = cut_ends(done, np.zeros(count, bool), np.array([0, count]))
    return Episode(observations, _plain_actions(rows["action"], count), rewards, *ends)


def _plain_actions(actions: np.ndarray, count: int) -> np.ndarray:
    flat = actions.reshape(count, -1)
    discrete = flat.shape[1] == 1 and flat.dtype.kind in "biu"
    return flat[:, 0].astype(np.int64) if discrete else flat


def _infer(
    folder: Path, files: list[Path], features: Features, observed: list[str]
) -> tuple[gymnasium.Space, gymnasium.Space]:
    """What the widest actions of all files suggest; their column alone is read for it."""
    extremes = []
    for file in files:
        for batch in _batches(file, features, ["action"]):
            actions = _plain_actions(batch["action"], len(batch["action"]))
            extremes += [actions.min(axis=0, keepdims=True), actions.max(axis=0, keepdims=True)]
    if not extremes:
        raise ValueError(f"{folder}: holds no episode; give a data set with at least one")
    width = sum(int(features[key]["shape"][0]) for key in observed)
    return infer_spaces(np.zeros((0, width), np.float32), np.concatenate(extremes))


FORMAT = Format(
    name="lerobot",
    folder="a LeRobot data set's folder",
    is_folder=is_lerobot_folder,
    files=lerobot_files,
    read=read_lerobot,
    takes_reward=True,
)
