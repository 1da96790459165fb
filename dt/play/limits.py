"""Time limits: how long an episode may last, and a limit for environments without one."""

from __future__ import annotations

import importlib
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from dt.spaces.environments import has_own_rows, making


def time_limit(env_id: str | None, env_kwargs: dict[str, Any]) -> int | None:
    """The longest an episode can last, where the arguments or the environment say.

    Of a "module:Name-v0" it is known once the module was imported.
    """
    if env_id is None:
        return None
    if "max_episode_steps" in env_kwargs:
        return int(env_kwargs["max_episode_steps"])
    spec = _registered(env_id)
    return None if spec is None else spec.max_episode_steps


def cut_kwargs(env_id: str, env_kwargs: dict[str, Any], max_timesteps: int) -> dict[str, Any]:
    """The environment's arguments, with a time limit where it has none: what the model knows.

    A policy may wander for ever where the logged agents arrived. Call it where the environment is
    about to be played: a "module:Name-v0" imports the module, as making the environment does.

    Raises:
        ValueError: when the module cannot be imported.
    """
    module = env_id.rpartition(":")[0]
    if module:
        with making(env_id):
            importlib.import_module(module)
    endless = time_limit(env_id, env_kwargs) in (None, -1)
    if not endless or _registered(env_id) is None or has_own_rows(env_id, env_kwargs):
        return env_kwargs
    return {**env_kwargs, "max_episode_steps": max_timesteps}


def _registered(env_id: str) -> EnvSpec | None:
    """What Gymnasium knows of the id; its registry's ids do not name the module."""
    return gymnasium.registry.get(env_id.rpartition(":")[2])
