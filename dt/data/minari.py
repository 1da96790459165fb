"""How does a local Minari data set become episodes?"""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import minari
import numpy as np
from gymnasium import spaces

from dt.data.episodes import Episode, EpisodeDataset
from dt.data.spaces import environment_spaces, first_line

_DATASET_ID = re.compile(r"^([\w\-./]+/)?[\w\-]+-v\d+$")


def is_minari_id(source: str) -> bool:
    return _DATASET_ID.match(source) is not None


def read_minari(
    dataset_id: str, env_id: str | None = None, env_kwargs: dict[str, Any] | None = None
) -> EpisodeDataset:
    """Read a data set below Minari's folder (`MINARI_DATASETS_PATH`).

    Raises:
        ValueError: when it is not there, or holds spaces this model does not read.
    """
    try:
        dataset = minari.load_dataset(dataset_id)
    except (FileNotFoundError, KeyError, OSError, ValueError) as error:
        raise ValueError(
            f"{dataset_id}: no such local Minari data set ({first_line(error)}); set "
            f"MINARI_DATASETS_PATH to its folder, or fetch it with `minari download {dataset_id}`"
        ) from error
    spec = dataset.spec.env_spec
    observation_space, action_space = dataset.observation_space, dataset.action_space
    kwargs = env_kwargs or {}
    if env_id is not None:
        observation_space, action_space = environment_spaces(env_id, kwargs)
    elif spec is not None:
        env_id = spec.id
        kwargs = {**_plain(spec), **kwargs}
    if not isinstance(observation_space, spaces.Box):
        raise ValueError(
            f"{dataset_id}: observations are {observation_space}; this version reads Box vectors"
        )
    if not isinstance(action_space, spaces.Box | spaces.Discrete):
        raise ValueError(
            f"{dataset_id}: actions are {action_space}; this version reads Box and Discrete"
        )
    try:
        episodes = list(dataset.iterate_episodes())
    except (OSError, KeyError) as error:
        raise ValueError(
            f"{dataset_id}: unreadable ({first_line(error)}); fetch it anew"
        ) from error
    kept = (
        Episode(
            np.asarray(e.observations),
            np.asarray(e.actions),
            np.asarray(e.rewards, np.float64),
            np.asarray(e.terminations, bool),
            np.asarray(e.truncations, bool),
        )
        for e in episodes
    )
    return EpisodeDataset.from_episodes(
        dataset_id,
        kept,
        observation_space=observation_space,
        action_space=action_space,
        env_id=env_id,
        env_kwargs=kwargs,
    )


def _plain(spec: gymnasium.envs.registration.EnvSpec) -> dict[str, Any]:
    """What differs from the registered environment: keyword arguments and the time limit."""
    kwargs = dict(spec.kwargs)
    if spec.max_episode_steps is not None:
        kwargs["max_episode_steps"] = spec.max_episode_steps
    return kwargs
