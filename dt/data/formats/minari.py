"""Read and write Minari data sets.

HDF5 and Arrow data sets, below Minari's folder (`MINARI_DATASETS_PATH`) by id, or in a folder of
their own; `hub:ID` fetches what is not there yet. What Minari's metadata cannot say exactly, a
data set written here says in keys of ours: dt_env_id and dt_env_kwargs (as JSON; env_spec says
the same with the registered time limit in it), dt_ref_source, dt_observation_space and
dt_action_space (of Discrete spaces that are not int64), and dt_final_observations: false where
the observation after the last action was not logged and repeats the one before it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import gymnasium
import numpy as np

from dt.data.episodes import Episode
from dt.data.formats.format import Format
from dt.data.formats.hdf5 import hdf5_keys
from dt.data.formats.minari_checks import check_files, pictures_of_size
from dt.data.reference import Reference
from dt.data.streams import EpisodeStream, cut_ends
from dt.files import first_line, read_json, refuse_links_out
from dt.spaces.environments import (
    EnvKwargs,
    environment_spaces,
    known_spaces,
    known_step_limit,
    kwargs_of,
    logged_kwargs,
)
from dt.spaces.parts import leaves
from dt.spaces.records import to_records
from dt.spaces.text import space_from_text
from dt.spaces.wrappers import WRAPPERS, NotRebuilt, wrappers_of

if TYPE_CHECKING:  # imported where a data set is opened: most logs are not Minari's
    import minari

Metadata: TypeAlias = dict[str, Any]  # the JSON of a data set's metadata.json

_DATASET_ID = re.compile(r"^([\w\-./]+/)?[\w\-]+-v\d+$")


def is_minari_id(source: str) -> bool:
    """Tell by the form of a name: NAME-v0, in a namespace or not."""
    return _DATASET_ID.match(source) is not None


def is_minari_folder(folder: Path) -> bool:
    """Tell by the metadata.json within."""
    return data_folder(folder) is not None


def is_minari_file(path: Path, head: bytes) -> bool:
    """Tell by an HDF5 file's keys, which are its episodes."""
    return any(re.fullmatch(r"episode_\d+", key) for key in hdf5_keys(path, head))


def data_folder(folder: Path) -> Path | None:
    """Find where a data set's metadata.json lies: in the folder itself, or in data/ below it."""
    for candidate in (folder / "data", folder):
        if (candidate / "metadata.json").is_file():
            return candidate
    return None


def dataset_path(dataset_id: str = "") -> Path:
    """Find where Minari keeps a data set of this id, or all of them."""
    from minari.storage import get_dataset_path

    return get_dataset_path(dataset_id)


def find_minari(source: str, fetch: bool = False) -> Path:
    """Find the data folder of an id, or of a folder that is a data set.

    Raises:
        ValueError: when it is not there, and cannot be fetched where that is asked for.
    """
    known = (data_folder(path) for path in _known_places(source))
    found = next(filter(None, known), None)
    if found is None and fetch:
        _download(source)
        found = data_folder(dataset_path(source))
    if found is None:
        raise ValueError(
            f"{source}: no such local Minari data set (nothing in {dataset_path(source)}); "
            f"set MINARI_DATASETS_PATH to its folder, or fetch it with "
            f"`minari download {source}` or --data hub:{source}"
        )
    return found


def _known_places(source: str) -> tuple[Path, Path]:
    """Where a data set may lie: its own path, and that of its id."""
    return Path(os.path.expanduser(source)), dataset_path(source)


def minari_files(source: str | Path, fetch: bool = False) -> list[Path]:
    """List the files of a data set, given by its id or folder.

    Raises:
        ValueError: as `find_minari`, and for a file that lies elsewhere.
    """
    folder = find_minari(str(source), fetch)
    found = [path for path in folder.rglob("*") if path.is_file() or path.is_symlink()]
    root = next(path for path in _known_places(str(source)) if data_folder(path) == folder)
    refuse_links_out(root, [folder, *found])
    return [path for path in found if path.is_file()]


def read_minari(
    source: str | Path,
    env_id: str | None = None,
    env_kwargs: EnvKwargs | None = None,
    fetch: bool = False,
) -> EpisodeStream:
    """Open an id or a folder; the episodes are read one by one.

    Args:
        fetch: download an id that is not there.

    Raises:
        ValueError: when it is not there, or holds spaces this model does not read.
    """
    source = str(source)
    folder = find_minari(source, fetch)
    minari_files(source)  # none of which lies elsewhere
    metadata = _read_metadata(source, folder)
    own, logged, unplayable = _environment(source, metadata)
    kwargs = kwargs_of(source, env_id, own, logged, env_kwargs)
    stored = _stored_spaces(source, metadata, env_id or own, kwargs)
    dataset = _open(source, folder, metadata, stored)
    observation_space, action_space = stored
    if "dt_observation_space" in metadata:
        observation_space = _space(source, metadata, "dt_observation_space")
    if "dt_action_space" in metadata:
        action_space = _space(source, metadata, "dt_action_space")
    notes: tuple[str, ...] = ()
    if env_id is not None:
        observation_space, action_space = environment_spaces(env_id, kwargs)
        if unplayable:
            notes, unplayable = (f"{unplayable}; {env_id} is played without it",), ""
    else:
        env_id = None if unplayable else own
    for name, space in (("observations", observation_space), ("actions", action_space)):
        try:
            leaves(space)
        except ValueError as error:
            raise ValueError(f"{source}: {name}: {error}") from None
    finals = bool(metadata.get("dt_final_observations", True))
    return EpisodeStream(
        name=source,
        observation_space=observation_space,
        action_space=action_space,
        episodes=lambda: _episodes(source, dataset, finals),
        env_id=env_id,
        env_kwargs=kwargs,
        reference=_reference(metadata),
        num_episodes=int(dataset.total_episodes),
        notes=notes,
        unplayable=unplayable,
    )


def _read_metadata(source: str, folder: Path) -> Metadata:
    path = folder / "metadata.json"
    try:
        metadata = read_json(path)
        if not isinstance(metadata, dict) or not isinstance(metadata.get("data_format"), str):
            raise ValueError("it is no object with a data_format")
        for key in ("total_episodes", "total_steps"):
            if type(metadata.get(key)) is not int or metadata[key] < 0:
                raise ValueError(f"{key} is {str(metadata.get(key))[:80]}; it must be a count")
    except ValueError as error:
        raise ValueError(
            f"{source}: not a readable Minari data set ({first_line(error)}); fetch it anew"
        ) from error
    return metadata


def _stored_spaces(
    source: str, metadata: Metadata, env_id: str | None, kwargs: EnvKwargs
) -> tuple[gymnasium.Space, gymnasium.Space]:
    """The spaces that the arrays are stored by.

    Where the metadata lacks them, Minari itself makes the environment that it describes, by the
    entry point written there: any function, with any arguments. Here an id that is registered
    already gives them, or nothing does.
    """
    keys = ("observation_space", "action_space")
    if all(key in metadata for key in keys):
        return _space(source, metadata, keys[0]), _space(source, metadata, keys[1])
    known = known_spaces(env_id, kwargs)
    if known is None:
        raise ValueError(
            f"{source}: metadata.json has no observation_space and action_space, and the "
            f"environment that it describes is not made from a file; write both there, or name an "
            f"installed environment with --env (train.py: --evaluation.env)"
        )
    return known


def _space(source: str, metadata: Metadata, key: str) -> gymnasium.Space:
    try:
        return space_from_text(metadata[key])
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{source}: {key} in metadata.json {first_line(error)}; fetch it anew"
        ) from error


def _open(
    source: str,
    folder: Path,
    metadata: Metadata,
    stored: tuple[gymnasium.Space, gymnasium.Space],
) -> minari.MinariDataset:
    data_format = metadata["data_format"]
    if data_format != "hdf5" and find_spec("pyarrow") is None:
        raise ValueError(
            f"{source}: Minari's {data_format} format needs pyarrow; "
            f"pip install 'dt-steer[lerobot]'"
        )
    import minari
    from minari.dataset._storages import get_minari_storage

    images = bool(metadata.get("jpeg_encoding", True))
    check_files(source, folder, metadata, stored if images else ())
    try:
        # Not `MinariStorage.read`, which makes an environment where it finds no spaces.
        storage = get_minari_storage(data_format)(folder, *stored, jpeg_encoding=images)
        return minari.MinariDataset(storage)
    except (OSError, KeyError, TypeError, ValueError, AssertionError) as error:
        raise ValueError(
            f"{source}: not a readable Minari data set ({first_line(error)}); fetch it anew"
        ) from error


def _download(dataset_id: str) -> None:
    import minari

    if not is_minari_id(dataset_id):
        raise ValueError(f"hub:{dataset_id}: is not the form of a Minari id (name-v0)")
    if find_spec("huggingface_hub") is None:
        raise ValueError(
            f"hub:{dataset_id}: fetching needs huggingface_hub; pip install 'dt-steer[hub]'"
        )
    target = dataset_path(dataset_id)
    existed = target.exists()
    try:
        minari.download_dataset(dataset_id)
    except BaseException as error:  # each of the hub's clients has errors of its own
        if not existed:  # half a data set would be taken for a whole one
            shutil.rmtree(target, ignore_errors=True)
        if not isinstance(error, Exception):
            raise
        raise ValueError(
            f"hub:{dataset_id}: cannot be fetched ({type(error).__name__}: {first_line(error)}); "
            f"check the id and the connection"
        ) from error


def _episodes(source: str, dataset: minari.MinariDataset, finals: bool) -> Iterator[Episode]:
    steps = 0
    episodes = dataset.iterate_episodes()
    while True:
        try:
            with pictures_of_size(dataset.observation_space, dataset.action_space):
                e = next(episodes, None)
            if e is None:
                break
            rewards = np.asarray(e.rewards)
            observations = to_records(dataset.observation_space, e.observations)
            actions = to_records(dataset.action_space, e.actions)
        except Exception as error:  # Minari's reader, and its decoders of pictures, have many
            raise ValueError(
                f"{source}: unreadable ({first_line(error)}); fetch it anew"
            ) from error
        steps += len(rewards)
        ends = np.asarray(e.terminations), np.asarray(e.truncations)
        yield Episode(
            observations if finals else observations[: len(rewards)],
            actions,
            rewards,
            *cut_ends(*ends, np.array([0, len(rewards)])),
        )
    if steps != dataset.total_steps:
        raise ValueError(
            f"{source}: holds {steps} steps, its metadata says {dataset.total_steps}; fetch it anew"
        )


def _environment(source: str, metadata: Metadata) -> tuple[str | None, EnvKwargs, str]:
    """The id and the arguments that the data were logged with, and why that environment cannot be
    made again, if so; nothing is made of them here."""
    unplayable = ""
    try:
        if "dt_env_kwargs" in metadata:
            env_id, kwargs = metadata.get("dt_env_id"), json.loads(metadata["dt_env_kwargs"])
        elif metadata.get("env_spec") is None:
            return None, {}, ""
        else:
            spec = json.loads(metadata["env_spec"])
            env_id, kwargs = spec["id"], dict(spec.get("kwargs") or {})
            # What differs from the registered environment: arguments and the time limit.
            if spec.get("max_episode_steps") is not None:
                kwargs["max_episode_steps"] = spec["max_episode_steps"]
            elif "max_episode_steps" in spec and known_step_limit(env_id, {}) is not None:
                kwargs["max_episode_steps"] = -1  # the registered limit was taken off
            try:
                wrappers = wrappers_of(spec)
            except NotRebuilt as reason:
                unplayable = f"{source} was logged in {env_id} with {reason}"
            else:
                kwargs |= {WRAPPERS: [[*each] for each in wrappers]} if wrappers else {}
        if not isinstance(env_id, str | None):
            raise ValueError("an id is a text")
        kwargs = logged_kwargs(kwargs)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{source}: metadata.json describes no environment ({first_line(error)}); remove its "
            f"env_spec"
        ) from error
    return env_id, kwargs, unplayable


def _reference(metadata: Metadata) -> Reference | None:
    """Minari's scores differ from D4RL's for the same task, so their source is named."""
    low, high = metadata.get("ref_min_score"), metadata.get("ref_max_score")
    if low is None or high is None:
        return None
    return Reference(metadata.get("dt_ref_source", "Minari"), float(low), float(high))


FORMAT = Format(
    name="minari",
    file="Minari's HDF5",
    folder="a Minari data set's folder",
    id="a Minari id (name-v0)",
    is_file=is_minari_file,
    is_folder=is_minari_folder,
    is_id=is_minari_id,
    # main_data.hdf5 says nothing without the metadata.json beside it.
    whole=lambda path: path.parent if path.is_file() else path,
    files=minari_files,
    read=read_minari,
)
# The same data sets by id alone, from the hub where they are not here yet.
HUB = Format(
    name="hub",
    id="hub:ID (of the hub)",
    files=partial(minari_files, fetch=True),
    read=partial(read_minari, fetch=True),
)
