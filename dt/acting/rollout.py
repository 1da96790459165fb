"""Rollouts: a policy plays episodes in a batch of environments, and they are counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from jaxtyping import Bool, Float, Int

from dt.acting.policy import ReturnConditionedPolicy
from dt.data.transforms import Transforms
from dt.play.faults import EnvironmentFault
from dt.play.turns import Group, Step, play_in_turns
from dt.spaces.parts import facts

# Offset between the seeds of environments and of sampled actions, so that they are unrelated.
_ACTION_SEED = 1_000_003


@dataclass(frozen=True)
class Rollouts:
    """What each episode came to, in the units of targets; row i asked for `targets[i]`."""

    targets: Float[np.ndarray, " n"]
    returns: Float[np.ndarray, " n"]
    lengths: Int[np.ndarray, " n"]


class RolloutFault(EnvironmentFault):
    """An environment broke; the episodes that had ended before are kept."""

    def __init__(self, fault: EnvironmentFault, tally: Tally):
        count, total = tally.num_done, len(tally.seeds)
        super().__init__(f"{fault} ({count} of {total} episodes had ended)")
        ended = tally.ended
        self.seeds = tally.seeds[ended]
        self.finished = Rollouts(tally.targets[ended], tally.returns[ended], tally.lengths[ended])

    def to_json(self) -> dict[str, Any]:
        """What happened, and each finished episode."""
        kept = self.finished
        columns = (kept.targets, self.seeds, kept.returns, kept.lengths)
        names = ("target", "seed", "return", "length")
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return {
            "fault": str(self),
            "episodes": [dict(zip(names, row, strict=True)) for row in rows],
        }


class Tally:
    """What the episodes of a rollout have come to so far."""

    def __init__(
        self, targets: Float[np.ndarray, " n"], seeds: Int[np.ndarray, " n"], transforms: Transforms
    ):
        self.targets, self.seeds, self.transforms = (
            np.array(targets),
            np.asarray(seeds),
            transforms,
        )
        self.returns, self.lengths = np.zeros(len(targets)), np.zeros(len(targets), np.int64)
        self.ended = np.zeros(len(targets), bool)
        self.num_done = self.num_steps = 0

    def note_chosen(
        self, episodes: Int[np.ndarray, " B"], returns: Float[np.ndarray, " B"]
    ) -> None:
        """Before a step is added: what the policy itself asked for, if it is an episode's first."""
        first = (episodes >= 0) & (self.lengths[np.maximum(episodes, 0)] == 0)
        self.targets[episodes[first]] = returns[first]

    def add(
        self,
        episodes: Int[np.ndarray, "*b"],
        timesteps: Int[np.ndarray, "*b"],
        rewards: Float[np.ndarray, "*b"],
        ended: Bool[np.ndarray, "*b"],
    ) -> None:
        """Steps of these episodes, -1 for none, an episode's own in order: which of the episode's
        they are, the environment's rewards, and whether over."""
        live = episodes >= 0
        playing = episodes[live]
        weights = self.transforms.discount ** timesteps[live]
        np.add.at(self.returns, playing, weights * self.transforms.rewards(rewards[live]))
        np.add.at(self.lengths, playing, 1)
        self.ended[episodes[live & ended]] = True
        self.num_steps += int(live.sum())
        self.num_done += int((live & ended).sum())

    def add_step(self, step: Step) -> None:
        self.add(step.episodes, self.lengths[step.episodes], step.rewards, step.ended)

    def rollouts(self) -> Rollouts:
        assert self.ended.all(), "episodes are still running"
        return Rollouts(self.targets, self.returns, self.lengths)


def run_episodes(
    policy: ReturnConditionedPolicy,
    envs: VectorEnv | Sequence[VectorEnv],
    targets: Float[np.ndarray, " n"],
    seeds: Int[np.ndarray, " n"],
    on_step: Callable[[int, int], None] = lambda done, steps: None,
    step_timeout: float = 0.0,
    guidance: Float[np.ndarray, "n 3"] | None = None,
) -> Rollouts:
    """Play exactly one episode for each target and seed, as many at a time as there are rows.

    Each episode depends on its target and seed alone: its seed fixes the environment and the
    sampled actions, whichever row it runs in.

    Args:
        envs: several take turns: while one steps, the policy computes the others' actions.
        on_step: called after every step with episodes done and environment steps of them so far.
        step_timeout: seconds that a step of all rows may take; 0: as long as it likes.
        guidance: each episode's weights, for a policy that guides each row by its own.

    Raises:
        RolloutFault: when an environment breaks or hangs, with the episodes that had ended.
    """
    tally = Tally(targets, seeds, policy.spec.transforms)

    def group_of(player: ReturnConditionedPolicy, rows: VectorEnv) -> Group:
        def start(where: np.ndarray, episodes: np.ndarray) -> None:
            player.reset(
                targets[episodes],
                seeds=action_seeds(seeds)[episodes],
                where=where,
                guidance=None if guidance is None else guidance[episodes],
            )

        check_spaces(player, rows.single_observation_space, rows.single_action_space)
        return Group(rows, start, player.begin_acting)

    batches = [envs] if isinstance(envs, VectorEnv) else list(envs)
    players = [policy, *(policy.another() for _ in batches[1:])]
    groups = list(map(group_of, players, batches))
    try:
        for number, step in play_in_turns(groups, seeds, step_timeout):
            player = players[number]
            if player.options.expert is not None:
                tally.note_chosen(step.episodes, player.returns_to_go)
            player.observe(step.rewards)
            tally.add_step(step)
            on_step(tally.num_done, tally.num_steps)
    except EnvironmentFault as fault:
        raise RolloutFault(fault, tally) from fault
    return tally.rollouts()


def action_seeds(seeds: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Seeds of the sampled actions of the episodes whose environments have these."""
    return seeds + _ACTION_SEED


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
        if facts(have) != facts(want):
            raise ValueError(
                f"the environment's {name} space is {have}, but the policy was trained on {want}; "
                f"name the environment of its data"
            )
