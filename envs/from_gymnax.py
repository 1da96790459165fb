"""Let an environment of gymnax look like a FuncEnv."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.experimental.functional import FuncEnv

from dt.acting.on_device import FunctionalTask
from dt.files import first_line

NO_LIMIT = 2**31 - 1  # gymnax always has one: more steps than its counter can count


# Classes of gymnax, which is an extra.
GymnaxEnvironment: TypeAlias = Any
State: TypeAlias = Any
Params: TypeAlias = Any
Space: TypeAlias = Any


class GymnaxState(NamedTuple):
    """A step of gymnax gives everything at once; the functions of a FuncEnv read it from here."""

    state: State
    observation: jax.Array
    reward: jax.Array
    done: jax.Array


class GymnaxEnv(FuncEnv):
    """`reset_env` and `step_env`, which do not start anew by themselves as gymnax's `step` does."""

    def __init__(self, env: GymnaxEnvironment, params: Params):
        super().__init__()
        self.env, self.params = env, params
        self.observation_space = _space(env.observation_space(params))
        self.action_space = _space(env.action_space(params))

    def initial(self, rng: jax.Array, params: None = None) -> GymnaxState:
        observation, state = self.env.reset_env(rng, self.params)
        return GymnaxState(state, observation, jnp.float32(0), jnp.array(False))

    def transition(
        self, state: GymnaxState, action: jax.Array, rng: jax.Array, params: None = None
    ) -> GymnaxState:
        observation, after, reward, done, _ = self.env.step_env(
            rng, state.state, action, self.params
        )
        return GymnaxState(after, observation, jnp.asarray(reward, jnp.float32).reshape(()), done)

    def observation(self, state: GymnaxState, rng: jax.Array, params: None = None) -> jax.Array:
        return state.observation

    def reward(
        self,
        state: GymnaxState,
        action: jax.Array,
        next_state: GymnaxState,
        rng: jax.Array,
        params: None = None,
    ) -> jax.Array:
        return next_state.reward

    def terminal(self, state: GymnaxState, rng: jax.Array, params: None = None) -> jax.Array:
        # Before version 1.0 the time limit is in it too, and after it is not: both end alike.
        return state.done


def gymnax_task(name: str, kwargs: dict[str, Any]) -> FunctionalTask:
    """Make gymnax's environment of this name, with its own time limit unless told otherwise.

    Args:
        kwargs: `max_episode_steps`, -1 for none, and fields of the environment's parameters.

    Raises:
        ValueError: without the package, and for a name or field that it does not know.
    """
    try:
        import gymnax
    except ImportError as error:
        raise ValueError(
            f"environment 'gymnax/{name}' needs the package gymnax ({first_line(error)}): "
            f'pip install "dt-steer[gymnax]"'
        ) from error
    changes = dict(kwargs)
    limit = changes.pop("max_episode_steps", None)
    if limit is not None:
        changes["max_steps_in_episode"] = NO_LIMIT if limit == -1 else limit
    try:
        env, params = gymnax.make(name)
        params = params.replace(**changes)
        functional = GymnaxEnv(env, params)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise ValueError(f"cannot make environment 'gymnax/{name}': {first_line(error)}") from error
    longest = None if limit == -1 else int(params.max_steps_in_episode)
    return FunctionalTask(f"gymnax/{name}", functional, longest)


def _space(space: Space) -> gymnasium.Space:
    """Translate gymnax's spaces, which are its own."""
    if hasattr(space, "n"):
        return spaces.Discrete(int(space.n))
    if hasattr(space, "low"):
        low, high = (np.broadcast_to(bound, space.shape) for bound in (space.low, space.high))
        dtype = np.dtype(space.dtype)
        return spaces.Box(low.astype(dtype), high.astype(dtype), tuple(space.shape), dtype.type)
    raise ValueError(f"its space {space} is neither Discrete nor Box")
