"""An environment of any spaces, in which what to do can be read off what is seen.

Each step has a bit. Every part of the observation shows it, and every part of the action that
shows it too earns a share of the reward.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector.utils import concatenate, create_empty_array

from dt.data import EpisodeDataset
from dt.spaces.parts import leaves
from dt.spaces.records import build, to_records

NUM_STEPS = 4  # of an episode


class Toy(gymnasium.Env):
    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(self, observation_space: gymnasium.Space, action_space: gymnasium.Space):
        self.observation_space, self.action_space = observation_space, action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self._next(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        reward = agreement(self.action_space, action, self.bit)
        return self._next(), reward, self.steps >= NUM_STEPS, False, {}

    def _next(self) -> Any:
        self.bit = int(self.np_random.integers(2))
        return show(self.observation_space, self.bit, self.np_random)


def show(space: gymnasium.Space, bit: int, rng: np.random.Generator) -> Any:
    """A value of the space whose every part shows the bit."""

    def part(leaf: Any) -> Any:
        if leaf.kind == "categories":
            value = np.asarray(leaf.starts.reshape(leaf.shape) + bit, leaf.space.dtype)
            return leaf.space.dtype.type(value) if not leaf.shape else value
        side = 2 * bit - 1 + rng.uniform(-0.5, 0.5, leaf.shape)
        if leaf.space.is_bounded():
            low, high = leaf.space.low.astype(float), leaf.space.high.astype(float)
            side = (low + high) / 2 + side * (high - low) / 3
        return side.astype(leaf.space.dtype)

    return build(space, part)


def agreement(space: gymnasium.Space, value: Any, bit: int) -> float:
    """The share of the parts' entries that show the bit."""
    shares = []
    for leaf in leaves(space, images=False):
        entries = np.asarray(leaf.of(value), float).reshape(-1)
        if leaf.kind == "categories":
            shares.append(np.mean(entries == leaf.starts + bit))
        else:
            bounded = leaf.space.is_bounded()
            middle = (leaf.space.low + leaf.space.high) / 2.0 if bounded else np.zeros(leaf.shape)
            shares.append(np.mean((entries > middle.reshape(-1)) == bool(bit)))
    return float(np.mean(shares))


def toy_dataset(
    observation_space: gymnasium.Space, action_space: gymnasium.Space, episodes: int = 16
) -> EpisodeDataset:
    """Episodes in which every action is right."""
    rng = np.random.default_rng(0)
    count = episodes * NUM_STEPS
    bits = rng.integers(0, 2, count).tolist()
    ends = np.arange(count) % NUM_STEPS == NUM_STEPS - 1
    return EpisodeDataset(
        name="toy",
        observations=stacked(observation_space, [show(observation_space, b, rng) for b in bits]),
        actions=stacked(action_space, [show(action_space, b, rng) for b in bits]),
        rewards=np.ones(count),
        terminations=ends,
        truncations=np.zeros(count, bool),
        offsets=np.arange(0, count + 1, NUM_STEPS),
        observation_space=observation_space,
        action_space=action_space,
    )


def stacked(space: gymnasium.Space, values: list[Any]) -> np.ndarray:
    """Values of single steps as an array, or as records."""
    batch = concatenate(space, values, create_empty_array(space, len(values)))
    return to_records(space, batch)
