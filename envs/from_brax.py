"""Let an environment of brax look like a FuncEnv."""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import numpy as np
from gymnasium import spaces
from gymnasium.experimental.functional import FuncEnv

from dt.acting.on_device import FunctionalTask
from dt.files import first_line

# Classes of brax, which is an extra.
BraxEnvironment: TypeAlias = Any
State: TypeAlias = Any

TIME_LIMIT = 1000  # brax.envs.create's own; the environments themselves have none


class BraxEnv(FuncEnv):
    """brax's state holds observation, reward and end already."""

    def __init__(self, env: BraxEnvironment):
        super().__init__()
        self.env = env
        if not isinstance(env.observation_size, int):
            raise ValueError(f"its observations are {env.observation_size}, not one vector")
        self.observation_space = spaces.Box(-np.inf, np.inf, (env.observation_size,), np.float32)
        # Whatever its actuators take: brax's environments scale from here.
        self.action_space = spaces.Box(-1.0, 1.0, (env.action_size,), np.float32)

    def initial(self, rng: jax.Array, params: None = None) -> State:
        return self.env.reset(rng)

    def transition(
        self, state: State, action: jax.Array, rng: jax.Array, params: None = None
    ) -> State:
        return self.env.step(state, action)

    def observation(self, state: State, rng: jax.Array, params: None = None) -> jax.Array:
        return state.obs

    def reward(
        self,
        state: State,
        action: jax.Array,
        next_state: State,
        rng: jax.Array,
        params: None = None,
    ) -> jax.Array:
        return next_state.reward

    def terminal(self, state: State, rng: jax.Array, params: None = None) -> jax.Array:
        return state.done > 0


def brax_task(name: str, kwargs: dict[str, Any]) -> FunctionalTask:
    """Make brax's environment of this name, ended after 1000 steps unless told otherwise.

    Args:
        kwargs: `max_episode_steps`, and what brax's environment takes, such as `backend`.

    Raises:
        ValueError: without the package, and for a name or argument that it does not know.
    """
    try:
        from brax import envs as brax_envs
    except ImportError as error:
        raise ValueError(
            f"environment 'brax/{name}' needs the package brax ({first_line(error)}): "
            f'pip install "dt-steer[brax]"'
        ) from error
    arguments = dict(kwargs)
    limit = arguments.pop("max_episode_steps", TIME_LIMIT)
    try:
        functional = BraxEnv(brax_envs.get_environment(name, **arguments))
    except (ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise ValueError(f"cannot make environment 'brax/{name}': {first_line(error)}") from error
    return FunctionalTask(f"brax/{name}", functional, None if limit == -1 else limit)
