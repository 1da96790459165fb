"""Time limits: how long an episode may last, and a limit for environments without one."""

from __future__ import annotations

import importlib

from dt.spaces.environments import (
    EnvKwargs,
    has_own_rows,
    is_registered,
    known_step_limit,
    making,
)


def time_limit(env_id: str | None, env_kwargs: EnvKwargs) -> int | None:
    """Find the longest an episode can last, where the arguments or the environment say.

    Of a "module:Name-v0" it is known once the module was imported.
    """
    return None if env_id is None else known_step_limit(_registered_id(env_id), env_kwargs)


def cut_kwargs(env_id: str, env_kwargs: EnvKwargs, max_timesteps: int) -> EnvKwargs:
    """Give the environment's arguments a time limit where it has none: what the model knows.

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
    known = is_registered(_registered_id(env_id))
    if not endless or not known or has_own_rows(env_id, env_kwargs):
        return env_kwargs
    return {**env_kwargs, "max_episode_steps": max_timesteps}


def _registered_id(env_id: str) -> str:
    """The id that Gymnasium's registry has, which does not name the module."""
    return env_id.rpartition(":")[2]
