"""Environments that can run on the device, in one program with the policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.envs.phys2d.cartpole import CartPoleFunctional, CartPoleParams
from gymnasium.envs.phys2d.pendulum import PendulumFunctional
from gymnasium.envs.tabular.blackjack import BlackjackFunctional
from gymnasium.experimental.functional import FuncEnv

from dt.acting.on_device import FunctionalTask

from .from_brax import brax_task
from .from_gymnax import gymnax_task


class CartPole(CartPoleFunctional):
    """CartPole as Gymnasium's CartPole-v1 has it, whose pole is a twelfth of phys2d's.

    Gymnasium's functional form adds the pole's mass and half-length where the original multiplies
    them.
    """

    params = CartPoleParams(polemass_length=CartPoleParams.masspole * CartPoleParams.length)

    def transition(self, state: Any, action: Any, rng: Any = None, params: Any = params) -> Any:
        return super().transition(state, action, rng, params)


# Gymnasium's ids with a functional form: its own, and those of which it has one beside.
FORMS: dict[str, Callable[[], FuncEnv]] = {
    "CartPole-v0": CartPole,
    "CartPole-v1": CartPole,
    "Pendulum-v1": PendulumFunctional,
    "phys2d/CartPole-v0": CartPoleFunctional,
    "phys2d/CartPole-v1": CartPoleFunctional,
    "phys2d/Pendulum-v0": PendulumFunctional,
    "tabular/Blackjack-v0": BlackjackFunctional,
}
# Other libraries' environments are named LIBRARY/NAME.
LIBRARIES: dict[str, Callable[[str, dict[str, Any]], FunctionalTask]] = {
    "gymnax": gymnax_task,
    "brax": brax_task,
}


def functional_task(env_id: str, env_kwargs: dict[str, Any] | None = None) -> FunctionalTask:
    """Give the environment of this id as pure functions.

    Args:
        env_kwargs: `max_episode_steps` sets the time limit, -1 for none. The rest goes to the
            libraries; Gymnasium's functional forms take nothing else.

    Raises:
        ValueError: for an environment that has no functional form, a library that is not installed,
            and arguments that it does not take.
    """
    kwargs = dict(env_kwargs or {})
    library, _, name = env_id.partition("/")
    if library in LIBRARIES:
        return LIBRARIES[library](name, kwargs)
    if env_id not in FORMS:
        raise ValueError(
            f"--on-device: {env_id} has no functional form; there are {', '.join(FORMS)}, "
            f"gymnax/NAME and brax/NAME"
        )
    limit = kwargs.pop("max_episode_steps", None) or gymnasium.spec(env_id).max_episode_steps
    if kwargs:
        raise ValueError(
            f"--on-device: {env_id} takes max_episode_steps alone, not {', '.join(kwargs)}; leave "
            f"--on-device out"
        )
    return FunctionalTask(env_id, FORMS[env_id](), None if limit == -1 else limit)
