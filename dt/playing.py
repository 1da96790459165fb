"""How do environments step, episode after episode? As one batch whose free rows are refilled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import AutoresetMode, VectorEnv
from jaxtyping import Bool, Float, Int

from dt.data.spaces import making
from dt.faults import Watched


class Step(NamedTuple):
    """One step of all rows; a row with no episode left has episode -1 and idles along."""

    episodes: Int[np.ndarray, " B"]  # which of the episodes asked for each row plays
    observations: np.ndarray
    actions: np.ndarray
    rewards: Float[np.ndarray, " B"]
    terminated: Bool[np.ndarray, " B"]
    truncated: Bool[np.ndarray, " B"]
    next_observations: np.ndarray  # the last ones of an episode included

    @property
    def live(self) -> Bool[np.ndarray, " B"]:
        return self.episodes >= 0

    @property
    def ended(self) -> Bool[np.ndarray, " B"]:
        """Live rows whose episode is over."""
        return self.live & (self.terminated | self.truncated)


def make_envs(env_id: str, num_envs: int, env_kwargs: dict[str, Any] | None = None) -> VectorEnv:
    """Environments that are reset by hand: the id's own vector environment if it can be, else sync.

    Raises:
        ValueError: when Gymnasium cannot make the environment, with its reason.
    """
    disabled: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED}
    with making(env_id):
        if _can_reset_by_hand(env_id):
            return gymnasium.make_vec(
                env_id,
                num_envs=num_envs,
                vectorization_mode="vector_entry_point",
                **disabled,
                **(env_kwargs or {}),
            )
        return gymnasium.make_vec(
            env_id,
            num_envs=num_envs,
            vectorization_mode="sync",
            vector_kwargs=disabled,
            **(env_kwargs or {}),
        )


def _can_reset_by_hand(env_id: str) -> bool:
    """Whether the id's own vector environment says so, as ours do; Gymnasium's cannot."""
    spec = gymnasium.registry.get(env_id)
    if spec is None or spec.vector_entry_point is None:
        return False
    entry_point = spec.vector_entry_point
    creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    return AutoresetMode.DISABLED in getattr(creator, "metadata", {}).get("autoreset_modes", ())


def play(
    envs: VectorEnv,
    seeds: Int[np.ndarray, " n"],
    start: Callable[[np.ndarray, np.ndarray], None],
    act: Callable[[np.ndarray], np.ndarray],
    step_timeout: float = 0.0,
) -> Iterator[Step]:
    """Play exactly one episode for each seed, `envs.num_envs` at a time, and yield every step.

    A row whose episode ends takes the next one from the queue, so short episodes neither leave
    the batch idle nor count more often. The environment of episode i is reset with `seeds[i]`,
    whichever row it runs in.

    Args:
        start: called with the rows that begin an episode, (B,) Booleans, and the number of each
            row's episode, (B,), before `act` sees its first observation.
        act: observations of all rows -> actions of all rows.
        step_timeout: seconds that a step of all rows may take; 0: as long as it likes.

    Raises:
        EnvironmentFault: when an environment raises, hangs or gives what is no observation or
            reward; steps that were yielded before stand.
    """
    num_episodes, num_envs = len(seeds), envs.num_envs
    watched = Watched(envs, step_timeout)
    playing = watched.episodes
    playing[: min(num_envs, num_episodes)] = np.arange(min(num_envs, num_episodes))
    queued = min(num_envs, num_episodes)
    num_done = 0
    starting = np.ones(num_envs, bool)
    observations = np.empty(0)
    try:
        while num_done < num_episodes:
            if starting.any():
                episodes = np.maximum(playing, 0)
                watched.steps[starting] = 0
                observations = watched.reset(starting, seeds[episodes].tolist())
                start(starting, episodes)
            actions = act(observations)
            before = observations
            observations, rewards, terminated, truncated = watched.step(actions)
            step = Step(
                playing.copy(), before, actions, rewards, terminated, truncated, observations
            )
            num_done += int(step.ended.sum())
            yield step
            watched.steps += 1
            starting = terminated | truncated
            for row in np.flatnonzero(starting):
                playing[row] = queued if queued < num_episodes else -1
                queued += 1
    finally:
        watched.close()
