"""Publish a finished collection as a Minari data set, whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gymnasium.vector import VectorEnv
from jaxtyping import Float, Int
from minari.dataset.minari_storage import MinariStorage

from dt.collect.packing import pack_file
from dt.collect.plan import PLAN, Collection, Plan, episode_seeds
from dt.data.episodes import Episode
from dt.data.formats.minari_writing import place_minari, write_minari
from dt.data.streams import EpisodeStream


@dataclass(frozen=True)
class Outcome:
    """What a policy's episodes came to."""

    policy: str
    returns: Float[np.ndarray, " n"]
    lengths: Int[np.ndarray, " n"]


def publish(collection: Collection, envs: VectorEnv) -> list[Outcome]:
    """Write the data set beside its place, an episode at a time, and rename it there.

    Returns:
        What the episodes of each policy came to.
    """
    plan, finished = collection.plan, collection.work / "finished"
    shutil.rmtree(finished, ignore_errors=True)  # a process was killed while writing
    numbers = np.arange(plan.num_episodes)
    returns, lengths = np.zeros(len(numbers)), np.zeros(len(numbers), np.int64)

    def episodes() -> Iterator[Episode]:
        for number in numbers.tolist():
            episode = collection.journal[number]
            returns[number], lengths[number] = episode.rewards.sum(), len(episode)
            yield episode

    stream = EpisodeStream(
        name=collection.dataset_id,
        observation_space=envs.single_observation_space,
        action_space=envs.single_action_space,
        episodes=episodes,
        env_id=plan.env_id,
        env_kwargs=plan.env_kwargs,
    )
    write_minari(finished, collection.dataset_id, stream)
    shape = envs.single_observation_space.shape
    if envs.single_observation_space.dtype == np.uint8 and shape is not None and len(shape) > 1:
        pack_file(finished / "data" / "main_data.hdf5")
    _describe(finished / "data", plan)
    shutil.copy(collection.work / PLAN, finished / PLAN)
    place_minari(finished, collection.dataset_id)
    ends = np.cumsum(plan.episodes)[:-1]
    parts = zip(plan.policies, np.split(returns, ends), np.split(lengths, ends), strict=True)
    return [Outcome(*part) for part in parts]


def _describe(folder: Path, plan: Plan) -> None:
    """Note in Minari's metadata who acted, and with which seed each episode was played."""
    storage = MinariStorage.read(folder)
    storage.update_metadata(
        {
            "algorithm_name": ", ".join(plan.policies),
            "code_permalink": "",
            "description": plan.describe(),
        }
    )
    who = np.repeat(plan.policies, plan.episodes).tolist()
    seeds = episode_seeds(plan.seed, np.arange(plan.num_episodes)).tolist()
    storage.update_episode_metadata(
        {"policy": policy, "seed": seed} for policy, seed in zip(who, seeds, strict=True)
    )
