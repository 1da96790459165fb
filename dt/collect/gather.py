"""Play the episodes of a plan that are still missing, and keep each in the journal as it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from gymnasium.vector import VectorEnv
from jaxtyping import Bool, Int

from dt.collect.behaviors.acting import Behavior
from dt.collect.journal import Journal
from dt.collect.plan import Collection, episode_seeds
from dt.data.episodes import Episode
from dt.play.rendering import in_one_line
from dt.play.turns import Step, play
from dt.spaces.arrays import Tree
from dt.spaces.parts import leaves

_ACTIONS = 1  # tells an episode's generator of actions from its environment's


def check_spaces(envs: VectorEnv) -> None:
    """Refuse environments whose steps are neither arrays nor records of them.

    Raises:
        ValueError: naming the space.
    """
    for name, space in (
        ("observations", envs.single_observation_space),
        ("actions", envs.single_action_space),
    ):
        try:
            leaves(space)
        except ValueError as error:
            raise ValueError(f"the environment's {name}: {error}") from None


def play_plan(
    collection: Collection,
    behaviors: Sequence[Behavior],
    envs: VectorEnv,
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> None:
    """Play what is left of the plan, one policy after the other.

    Args:
        on_step: called after every step with the episodes kept so far, those of an earlier
            process included, and the steps of these and of the running ones.
    """
    journal, seed = collection.journal, collection.plan.seed
    on_step(len(journal), journal.num_steps)
    end = 0
    for behavior, count in zip(behaviors, collection.plan.episodes, strict=True):
        first, end = end, end + count
        left = [number for number in range(first, end) if number not in journal]
        gather(behavior, envs, np.array(left, np.int64), seed, journal, on_step)


def gather(
    behavior: Behavior,
    envs: VectorEnv,
    numbers: Int[np.ndarray, " n"],
    seed: int,
    journal: Journal,
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> None:
    """Play the episodes of these numbers, and keep each when it ends."""
    seeds = episode_seeds(seed, numbers)
    rngs = [np.random.default_rng(0) for _ in range(envs.num_envs)]
    running: list[list[Step]] = [[] for _ in rngs]

    def start(where: Bool[np.ndarray, " B"], episodes: Int[np.ndarray, " B"]) -> None:
        for row in np.flatnonzero(where):
            rngs[row] = np.random.default_rng((int(seeds[episodes[row]]), _ACTIONS))
        behavior.start(where, rngs)

    def act(observations: np.ndarray) -> Tree:
        return behavior.act(_screens(envs) if behavior.watches else observations, rngs)

    for step in play(envs, seeds, start, act):
        behavior.observe(step.rewards, step.actions)
        for row in np.flatnonzero(step.live):
            running[row].append(step)
        for row in np.flatnonzero(step.ended):
            journal.append(int(numbers[step.episodes[row]]), _episode(running[row], int(row)))
            running[row] = []
        on_step(len(journal), journal.num_steps + sum(map(len, running)))


def _screens(envs: VectorEnv) -> np.ndarray:
    with in_one_line():
        rendered = envs.render()
    assert rendered is not None, "a behavior that watches needs render_mode rgb_array"
    return np.stack(rendered)


def _episode(steps: list[Step], row: int) -> Episode:
    """Put a row's steps together, with the observation after its last action."""
    observations = [step.observations[row] for step in steps]
    return Episode(
        np.stack([*observations, steps[-1].next_observations[row]]),
        np.stack([step.actions[row] for step in steps]),
        np.array([step.rewards[row] for step in steps], np.float64),
        np.array([step.terminated[row] for step in steps], bool),
        np.array([step.truncated[row] for step in steps], bool),
    )
