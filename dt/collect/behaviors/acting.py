"""Behaviors: what acts while data is collected, as functions over rows of episodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Bool, Float

from dt.spaces.arrays import Tree
from dt.spaces.parts import leaves
from dt.spaces.records import build

Generators = list[np.random.Generator]


@dataclass(frozen=True)
class Behavior:
    """A policy whose rows know nothing of one another.

    Every random choice of a row comes from that row's generator, which its episode's seed made,
    and no row's numbers depend on how many others there are. An episode is therefore the same
    in any row of any batch.
    """

    name: str
    act: Callable[[np.ndarray, Generators], Tree]
    """(B, *observation shape) and a generator a row -> (B, *action shape), inside the space.
    Observations of a Dict or Tuple space come as records, its actions may be a tree."""
    start: Callable[[Bool[np.ndarray, " B"], Generators], None] = lambda rows, generators: None
    """New episodes begin in these rows."""
    observe: Callable[[Float[np.ndarray, " B"], np.ndarray], None] = lambda rewards, actions: None
    """What came of the actions that were taken."""
    content: str = ""
    """A hash of what was loaded: two behaviors of one name and content act alike."""
    watches: bool = False
    """`act` sees what the environments render, (B, height, width, 3), and not the observations."""


def random_behavior(action_space: gymnasium.Space) -> Behavior:
    """Act uniformly over the action space.

    Raises:
        ValueError: for a space that has no uniform distribution.
    """
    check_uniform(action_space, "--policy random")
    return Behavior("random", lambda _, rngs: uniform_actions(action_space, rngs))


def with_noise(behavior: Behavior, noise: float, action_space: gymnasium.Space) -> Behavior:
    """Disturb a behavior's actions.

    Discrete choices are replaced by a uniformly random one with probability `noise`. To numbers
    of a box a Gaussian is added whose standard deviation is `noise` times half of each number's
    range, and the sum is clipped to the box. Actions of several parts are disturbed part by part.

    Raises:
        ValueError: for a probability above 1, or a box without bounds.
    """
    if noise == 0:
        return behavior
    check_uniform(action_space, f"--noise {noise}")
    if noise > 1:
        for leaf in leaves(action_space, images=False):
            if not _is_continuous(leaf.space):
                raise ValueError(
                    f"--noise is {noise}; with {leaf.space} it is a probability, from 0 to 1"
                )

    def act(observations: np.ndarray, rngs: Generators) -> Tree:
        actions = behavior.act(observations, rngs)
        return build(
            action_space, lambda leaf: _disturbed(leaf.of(actions), noise, leaf.space, rngs)
        )

    return replace(behavior, act=act)


def uniform_actions(space: gymnasium.Space, rngs: Generators) -> Tree:
    """Draw uniformly from the space by each generator; a tree where the space has parts."""
    return build(space, lambda leaf: np.stack([_uniform_action(leaf.space, rng) for rng in rngs]))


def check_uniform(space: gymnasium.Space, asker: str) -> None:
    """Refuse a space from which nothing can be drawn uniformly."""
    for leaf in leaves(space, images=False):
        if isinstance(leaf.space, spaces.Box) and not leaf.space.is_bounded():
            raise ValueError(
                f"{asker}: the actions are {space}, which is not bounded, so nothing can be drawn "
                f"evenly; act with another --policy and no --noise, or bound the environment's "
                f"action space"
            )


def _uniform_action(space: gymnasium.Space, rng: np.random.Generator) -> np.ndarray:
    if isinstance(space, spaces.Discrete):
        draw = space.start + rng.integers(space.n)
    elif isinstance(space, spaces.MultiDiscrete):
        draw = space.start + rng.integers(space.nvec)
    elif isinstance(space, spaces.MultiBinary):
        draw = rng.integers(2, size=space.shape)
    else:
        assert isinstance(space, spaces.Box)
        if _is_continuous(space):
            draw = rng.uniform(space.low, space.high)
        else:
            draw = rng.integers(space.low, space.high, endpoint=True)
    return np.asarray(draw, space.dtype)


def _is_continuous(space: gymnasium.Space) -> bool:
    return isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating)


def _disturbed(
    actions: np.ndarray, noise: float, space: gymnasium.Space, rngs: Generators
) -> np.ndarray:
    if isinstance(space, spaces.Box) and _is_continuous(space):
        scale = noise * (space.high - space.low) / 2
        drawn = np.stack([rng.standard_normal(space.shape) for rng in rngs])
        return np.clip(actions + scale * drawn, space.low, space.high).astype(space.dtype)
    replaced = np.array([rng.random() < noise for rng in rngs])
    rows = replaced.reshape(-1, *[1] * (actions.ndim - 1))
    return np.where(rows, uniform_actions(space, rngs), actions)
