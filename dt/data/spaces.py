"""Which spaces does a data set live in: the environment's, or those its arrays suggest?"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


def environment_spaces(
    env_id: str, env_kwargs: dict[str, Any] | None = None
) -> tuple[gymnasium.Space, gymnasium.Space]:
    """Observation and action space of a registered environment.

    Raises:
        ValueError: when Gymnasium cannot make it, with Gymnasium's reason.
    """
    with making(env_id):
        env = gymnasium.make(env_id, **(env_kwargs or {}))
    try:
        return env.observation_space, env.action_space
    finally:
        env.close()


@contextmanager
def making(env_id: str) -> Iterator[None]:
    """Turn what Gymnasium raises for an environment it cannot make into one line."""
    try:
        with warnings.catch_warnings():
            # Data of v4 needs v4: that a v5 exists is no news.
            warnings.filterwarnings("ignore", message=".*is out of date.*")
            yield
    except (gymnasium.error.Error, ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"cannot make environment {env_id!r}: {first_line(error)}") from error


def infer_spaces(
    observations: np.ndarray, actions: np.ndarray
) -> tuple[gymnasium.Space, gymnasium.Space]:
    """Spaces for arrays of an environment that cannot be made here.

    Integer actions become Discrete(largest + 1). Float actions within [-1, 1] become that Box,
    the convention of every continuous Gymnasium task; others an unbounded Box.
    """
    observation_space = spaces.Box(-np.inf, np.inf, observations.shape[1:], np.float32)
    if np.issubdtype(actions.dtype, np.integer) and actions.ndim == 1:
        return observation_space, spaces.Discrete(int(actions.max(initial=0)) + 1)
    bound = 1.0 if np.abs(actions).max(initial=0.0) <= 1.0 else np.inf
    return observation_space, spaces.Box(-bound, bound, actions.shape[1:], np.float32)


def resolve_spaces(
    env_id: str | None,
    env_kwargs: dict[str, Any],
    observations: np.ndarray,
    actions: np.ndarray,
) -> tuple[gymnasium.Space, gymnasium.Space]:
    """The environment's spaces where it is installed here, else those the arrays suggest."""
    if env_id is not None and is_registered(env_id):
        try:
            return environment_spaces(env_id, env_kwargs)
        except ValueError:
            pass  # registered, but its simulator is not installed: training does not need it
    return infer_spaces(observations, actions)


def is_registered(env_id: str) -> bool:
    """Whether Gymnasium knows the id. A data file's "module:Name-v0" does not import the module."""
    return env_id in gymnasium.registry


def why_not_playable(env_id: str, env_kwargs: dict[str, Any]) -> str | None:
    """Gymnasium's reason that the environment cannot be made here; None when it can."""
    try:
        environment_spaces(env_id, env_kwargs)
    except ValueError as error:
        return str(error)
    return None


def first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
