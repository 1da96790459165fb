"""Find out which environments can be made here, and what their spaces are."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import gymnasium
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import AutoresetMode

from dt.files import first_line

EnvKwargs: TypeAlias = dict[str, Any]  # what `gymnasium.make` takes besides the id


def environment_spaces(
    env_id: str, env_kwargs: EnvKwargs | None = None
) -> tuple[gymnasium.Space, gymnasium.Space]:
    """Find the observation and action space of a registered environment, as a row of it is played.

    Raises:
        ValueError: when Gymnasium cannot make it, with Gymnasium's reason.
    """
    kwargs = env_kwargs or {}
    if has_own_rows(env_id, kwargs):
        with making(env_id):
            by_hand: EnvKwargs = {"autoreset_mode": AutoresetMode.DISABLED, **kwargs}
            rows = gymnasium.make_vec(env_id, 1, "vector_entry_point", **by_hand)
        try:
            return rows.single_observation_space, rows.single_action_space
        finally:
            rows.close()
    with making(env_id):
        env = gymnasium.make(env_id, **kwargs)
    try:
        return env.observation_space, env.action_space
    finally:
        env.close()


def has_own_rows(env_id: str, env_kwargs: EnvKwargs) -> bool:
    """Tell whether the id has a vector environment that says it can be reset by hand, as ours do.

    It also says which pictures it draws (`render_modes`), and which arguments only a single
    environment takes (`single_only`).
    """
    spec = gymnasium.registry.get(env_id)
    if spec is None or spec.vector_entry_point is None:
        return False
    entry_point = spec.vector_entry_point
    creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    metadata = getattr(creator, "metadata", {})
    render_mode = env_kwargs.get("render_mode")
    draws = render_mode is None or render_mode in metadata.get("render_modes", ())
    takes = not set(metadata.get("single_only", ())) & set(env_kwargs)
    return draws and takes and AutoresetMode.DISABLED in metadata.get("autoreset_modes", ())


@contextmanager
def making(env_id: str) -> Iterator[None]:
    """Turn what Gymnasium raises for an environment it cannot make into one line."""
    try:
        with warnings.catch_warnings():
            # Data of v4 needs v4: that a v5 exists is no news.
            warnings.filterwarnings("ignore", message=".*is out of date.*")
            yield
    except gymnasium.error.NamespaceNotFound as error:
        raise ValueError(
            f"cannot make environment {env_id!r}: {first_line(error)} Install the package that "
            f"brings it, as the extra atari does ALE/ (pip install 'dt-steer[atari]')"
        ) from error
    except ModuleNotFoundError as error:
        missing = first_line(error).partition(". ")[0]  # what follows asks what to check
        raise ValueError(
            f"cannot make environment {env_id!r}: {missing}; install it, or put the folder that "
            f"holds it on PYTHONPATH"
        ) from error
    except Exception as error:  # a constructor is anybody's code
        raise ValueError(f"cannot make environment {env_id!r}: {first_line(error)}") from error


def known_spaces(
    env_id: str | None, env_kwargs: EnvKwargs
) -> tuple[gymnasium.Space, gymnasium.Space] | None:
    """Find the environment's spaces where it is installed here."""
    if env_id is not None and is_registered(env_id):
        try:
            return environment_spaces(env_id, env_kwargs)
        except ValueError:
            pass  # registered, but its simulator is not installed: training does not need it
    return None


def is_registered(env_id: str) -> bool:
    """Tell whether Gymnasium knows the id; a data file's "module:Name-v0" imports no module."""
    return env_id in gymnasium.registry


def known_step_limit(env_id: str | None, env_kwargs: EnvKwargs) -> int | None:
    """Find after how many steps the environment cuts an episode, where that is given or known.

    No module is imported for it: a name in a data file must not run code.
    """
    if "max_episode_steps" in env_kwargs:
        return int(env_kwargs["max_episode_steps"])
    spec = gymnasium.registry.get(env_id or "")
    return spec.max_episode_steps if spec else None


def why_not_playable(env_id: str, env_kwargs: EnvKwargs) -> str | None:
    """Give Gymnasium's reason that the environment cannot be made here; None when it can."""
    try:
        environment_spaces(env_id, env_kwargs)
    except ValueError as error:
        return str(error)
    return None
