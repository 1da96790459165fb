"""How well does a policy do? It plays episodes in a batch of environments, and they are counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from jaxtyping import Float, Int

from dt.playing import make_envs as make_envs
from dt.playing import play
from dt.policy import ReturnConditionedPolicy

# Offset between the seeds of environments and of sampled actions, so that they are unrelated.
_ACTION_SEED = 1_000_003


@dataclass(frozen=True)
class Rollouts:
    """What each episode came to, in the units of targets; row i asked for `targets[i]`."""

    targets: Float[np.ndarray, " n"]
    returns: Float[np.ndarray, " n"]
    lengths: Int[np.ndarray, " n"]


def run_episodes(
    policy: ReturnConditionedPolicy,
    envs: VectorEnv,
    targets: Float[np.ndarray, " n"],
    seeds: Int[np.ndarray, " n"],
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> Rollouts:
    """Play exactly one episode for each target and seed, `envs.num_envs` at a time.

    Each episode depends on its target and seed alone: its seed fixes the environment and the
    sampled actions, whichever row it runs in.

    Args:
        on_step: called after every step with episodes done and environment steps of them so far.
    """
    check_spaces(policy, envs.single_observation_space, envs.single_action_space)
    returns, lengths = np.zeros(len(targets)), np.zeros(len(targets), np.int64)
    transforms = policy.spec.transforms
    num_done = num_steps = 0

    def start(where: np.ndarray, episodes: np.ndarray) -> None:
        policy.reset(targets[episodes], seeds=seeds[episodes] + _ACTION_SEED, where=where)

    for step in play(envs, seeds, start, policy.act):
        policy.observe(step.rewards)
        live = step.episodes[step.live]
        weights = transforms.discount ** lengths[live]
        returns[live] += weights * transforms.rewards(step.rewards[step.live])
        lengths[live] += 1
        num_steps += int(step.live.sum())
        num_done += int(step.ended.sum())
        on_step(num_done, num_steps)
    return Rollouts(np.asarray(targets), returns, lengths)


def check_spaces(
    policy: ReturnConditionedPolicy,
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
) -> None:
    """Refuse an environment of other spaces than the policy was trained in."""
    for name, have, want in (
        ("observation", observation_space, policy.spec.observation_space),
        ("action", action_space, policy.spec.action_space),
    ):
        if have.shape != want.shape or type(have) is not type(want) or _count(have) != _count(want):
            raise ValueError(
                f"the environment's {name} space is {have}, but the policy was trained on {want}; "
                f"name the environment of its data"
            )


def _count(space: gymnasium.Space) -> int | None:
    return int(space.n) if isinstance(space, gymnasium.spaces.Discrete) else None
