"""How do episodes come about? A policy drives a batch of Gymnasium environments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from jaxtyping import Float, Int

from dt.data.spaces import making
from dt.policy import ReturnConditionedPolicy

# Offset between the seeds of environments and of sampled actions, so that they are unrelated.
_ACTION_SEED = 1_000_003


@dataclass(frozen=True)
class Rollouts:
    """What each episode came to; row i asked for `targets[i]`."""

    targets: Float[np.ndarray, " n"]
    returns: Float[np.ndarray, " n"]
    lengths: Int[np.ndarray, " n"]


def make_envs(env_id: str, num_envs: int, env_kwargs: dict[str, Any] | None = None) -> VectorEnv:
    """Synchronous environments that are reset by hand.

    Raises:
        ValueError: when Gymnasium cannot make the environment, with its reason.
    """
    with making(env_id):
        return gymnasium.make_vec(
            env_id,
            num_envs=num_envs,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.DISABLED},
            **(env_kwargs or {}),
        )


def run_episodes(
    policy: ReturnConditionedPolicy,
    envs: VectorEnv,
    targets: Float[np.ndarray, " n"],
    seeds: Int[np.ndarray, " n"],
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> Rollouts:
    """Play exactly one episode for each target and seed, `envs.num_envs` at a time.

    A row whose episode ends takes the next one from the queue, so short episodes neither leave
    the batch idle nor count more often. Each episode depends on its target and seed alone: its
    seed fixes the environment and the sampled actions, whichever row it runs in.

    Args:
        on_step: called after every step with episodes done and environment steps of them so far.
    """
    _check_spaces(policy, envs)
    num_episodes, num_envs = len(targets), envs.num_envs
    returns, lengths = np.zeros(num_episodes), np.zeros(num_episodes, np.int64)
    # The episode that each row plays; rows beyond the last episode idle along with number -1.
    playing = np.where(np.arange(num_envs) < num_episodes, np.arange(num_envs), -1)
    queued = min(num_envs, num_episodes)
    num_done = num_steps = 0

    observations, _ = envs.reset(seed=seeds[playing].tolist())
    policy.reset(targets[playing], seeds=seeds[playing] + _ACTION_SEED)
    while True:
        observations, rewards, terminated, truncated, _ = envs.step(policy.act(observations))
        policy.observe(rewards)
        live = playing >= 0
        returns[playing[live]] += rewards[live]
        lengths[playing[live]] += 1
        num_steps += int(live.sum())
        ended = terminated | truncated
        num_done += int((ended & live).sum())
        on_step(num_done, num_steps)
        if num_done == num_episodes:
            return Rollouts(np.asarray(targets), returns, lengths)
        if ended.any():
            for row in np.flatnonzero(ended):
                playing[row] = queued if queued < num_episodes else -1
                queued += 1
            episodes = np.maximum(playing, 0)
            observations, _ = envs.reset(
                seed=seeds[episodes].tolist(), options={"reset_mask": ended}
            )
            policy.reset(targets[episodes], seeds=seeds[episodes] + _ACTION_SEED, where=ended)


def _check_spaces(policy: ReturnConditionedPolicy, envs: VectorEnv) -> None:
    for name, have, want in (
        ("observation", envs.single_observation_space, policy.spec.observation_space),
        ("action", envs.single_action_space, policy.spec.action_space),
    ):
        if have.shape != want.shape or type(have) is not type(want) or _count(have) != _count(want):
            raise ValueError(
                f"the environment's {name} space is {have}, but the policy was trained on {want}; "
                f"name the data's environment with --env"
            )


def _count(space: gymnasium.Space) -> int | None:
    return int(space.n) if isinstance(space, gymnasium.spaces.Discrete) else None
