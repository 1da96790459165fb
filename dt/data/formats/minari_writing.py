"""Write Minari data sets, one episode in memory at a time; `minari.py` says what its keys mean."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import h5py
import minari
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.namespace import create_namespace, list_local_namespaces
from minari.storage import get_dataset_path

from dt.data.episodes import Episode
from dt.data.formats.flat import kwargs_to_text
from dt.data.formats.hdf5 import reserve
from dt.data.formats.minari import Metadata
from dt.data.streams import EpisodeSource
from dt.spaces.parts import leaves
from dt.spaces.records import to_tree
from dt.spaces.text import space_to_text
from dt.spaces.wrappers import without_wrappers, wrapper_specs

BATCH_BYTES = 8 << 20  # episodes are written together until they may fill this much


def write_minari(folder: Path, dataset_id: str, source: EpisodeSource) -> None:
    """Write a data set into a new folder, one episode in memory at a time."""
    folder = folder.absolute()  # Minari loses its way from a relative one
    folder.mkdir()
    storage = MinariStorage.new(
        folder / "data",
        observation_space=source.observation_space,
        action_space=source.action_space,
        env_spec=_env_spec(source),
        jpeg_encoding=False,  # it would change the pixels
    )
    metadata: Metadata = {
        "dataset_id": dataset_id,
        "minari_version": minari.__version__,
        "dt_env_kwargs": kwargs_to_text(source),
        "dt_final_observations": True,
    }
    if source.env_id is not None:
        metadata["dt_env_id"] = source.env_id
    for name in ("observation_space", "action_space"):
        space = getattr(source, name)
        found = [leaf.space for leaf in leaves(space) if isinstance(leaf.space, spaces.Discrete)]
        if any(leaf.dtype != np.int64 for leaf in found):
            metadata[f"dt_{name}"] = space_to_text(space)
    if source.reference is not None:
        metadata["ref_min_score"] = source.reference.low
        metadata["ref_max_score"] = source.reference.high
        metadata["dt_ref_source"] = source.reference.source
    storage.update_metadata(metadata)
    file = folder / "data" / "main_data.hdf5"
    h5py.File(file, "w", track_order=True).close()  # as Minari makes it; this one can be reserved
    padded: list[int] = []
    for batch, size in _batches(source, padded):
        reserve(file, file.stat().st_size, size)
        storage.update_episodes(batch)
    if padded:
        storage.update_metadata({"dt_final_observations": False})


def place_minari(folder: Path, dataset_id: str) -> Path:
    """Move a finished data set to where Minari finds it by its id."""
    target = get_dataset_path(dataset_id)
    namespace = dataset_id.rpartition("/")[0]
    if namespace and namespace not in list_local_namespaces():
        create_namespace(namespace)
    folder.rename(target)
    return target


def _env_spec(source: EpisodeSource) -> EnvSpec | None:
    """The environment for Minari's own `recover_environment`, where it can be written down."""
    if source.env_id is None:
        return None
    kwargs = without_wrappers(source.env_kwargs)
    limit = kwargs.pop("max_episode_steps", None)
    name = source.env_id.rpartition(":")[2]  # registered where its module has been imported
    try:
        spec = copy.deepcopy(gymnasium.registry.get(name)) or EnvSpec(source.env_id)
        spec.kwargs = {**spec.kwargs, **kwargs}
        spec.additional_wrappers += wrapper_specs(source.env_kwargs)
        spec.max_episode_steps = spec.max_episode_steps if limit is None else limit
        spec.vector_entry_point = None  # may be of this process alone; how rows step is no data
        spec.to_json()
    except (gymnasium.error.Error, TypeError, ValueError):
        return None  # "module:Name-v0", or an entry point that is no name
    return spec


def _batches(source: EpisodeSource, padded: list[int]) -> Iterator[tuple[list[EpisodeBuffer], int]]:
    """Minari's episodes, each with an observation after the last action, some of them together.

    Args:
        padded: collects the episodes that had none.

    Returns:
        The episodes, and the most bytes that they take.
    """
    batch: list[EpisodeBuffer] = []
    size = 0
    for index, episode in enumerate(source):
        observations = episode.observations
        if len(observations) == len(episode):
            padded.append(index)
            observations = np.concatenate([observations, observations[-1:]])
        buffer = EpisodeBuffer(
            id=index,
            observations=to_tree(source.observation_space, observations),
            actions=to_tree(source.action_space, episode.actions),  # arrays, written as they are
            rewards=episode.rewards,
            terminations=episode.terminations,
            truncations=episode.truncations,
        )
        batch.append(buffer)
        size += _most_bytes(episode, source)
        if size >= BATCH_BYTES:
            yield batch, size
            batch, size = [], 0
    if batch:
        yield batch, size


def _most_bytes(episode: Episode, source: EpisodeSource) -> int:
    """What it may take in Minari's file: half-filled chunks, their index, and the names."""
    names = ("observations", "actions", "rewards", "terminations", "truncations")
    values = sum(2 * getattr(episode, name).nbytes for name in names)
    step = (episode.observations.nbytes + 1) // len(episode.observations)  # one may be repeated
    parts = len(leaves(source.observation_space)) + len(leaves(source.action_space))
    return values + 2 * step + (32 << 10) + (8 << 10) * (parts - 2)
