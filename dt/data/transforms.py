"""Change logged numbers before a model learns from them."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float, Int

from dt.spaces.arrays import ArrayT


@dataclass(frozen=True)
class Transforms:
    """Choices that stand between a log and training; a policy keeps them in its spec.

    Where they change rewards, they change the environment's rewards at play too, so that targets,
    returns-to-go and achieved returns are all in the same units.
    """

    top_fraction: float = 1.0  # episodes kept, the best by return: 0.1 and no returns is 10 % BC
    delay_reward: bool = False  # an episode's whole reward comes with its last step
    reward_scale: float = 1.0  # reward * reward_scale + reward_shift, before anything else
    reward_shift: float = 0.0
    discount: float = 1.0  # of the return: R_t = r_t + discount * R_{t+1}
    normalize_observations: bool = True
    unit_actions: bool = False  # logged actions lie in [-1, 1], the environment's bounds differ

    def rewards(self, rewards: np.ndarray) -> Float[np.ndarray, " n"]:
        """Change the environment's rewards to the units of targets and returns, float64."""
        return self._in_target_units(rewards.astype(np.float64))

    def rewards_while_playing(self, rewards: ArrayT) -> ArrayT:
        """Change the environment's rewards to what is subtracted from the return still wanted.

        Args:
            rewards: of any shape; NumPy's or JAX's, in whose type the result is computed.

        Returns:
            The rewards in the units of targets; zeros where rewards are delayed, for then all of
            it comes with the last step, when nothing is asked any more.
        """
        if self.delay_reward:
            return rewards.__array_namespace__().zeros_like(rewards)
        return self._in_target_units(rewards)

    def _in_target_units(self, rewards: ArrayT) -> ArrayT:
        return rewards * self.reward_scale + self.reward_shift

    @property
    def changes_returns(self) -> bool:
        """Tell whether returns are in other units than the environment's."""
        return (self.reward_scale, self.reward_shift, self.discount) != (1.0, 0.0, 1.0)

    def returns_to_go(
        self, rewards: Float[np.ndarray, " N"], offsets: Int[np.ndarray, " E1"]
    ) -> Float[np.ndarray, " N"]:
        """Sum what is left to come at each step, of rewards that this object has transformed."""
        if not self.delay_reward:
            return returns_to_go(rewards, offsets, self.discount)
        lengths = np.diff(offsets)
        last = np.repeat(offsets[1:] - 1, lengths)
        total = np.repeat(np.add.reduceat(rewards, offsets[:-1]), lengths)
        steps_left = last - np.arange(len(rewards))
        return (total * self.discount**steps_left).astype(np.float32)

    def actions(self, actions: np.ndarray, space: gymnasium.Space) -> np.ndarray:
        """Scale logged actions to the environment's own units.

        Raises:
            ValueError: where `unit_actions` is on, but the space has no bounds or an action leaves
                [-1, 1].
        """
        if not self.unit_actions:
            return actions
        if not isinstance(space, spaces.Box) or not space.is_bounded():
            raise ValueError(
                f"--data.unit-actions with the action space {space}: only bounded boxes have "
                f"units to scale to; leave it out"
            )
        largest = float(np.abs(actions).max(initial=0.0))
        if largest > 1.0 + 1e-6:
            raise ValueError(
                f"--data.unit-actions, but the log holds an action of size {largest:.4g}; "
                f"leave it out"
            )
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        return (low + (actions + 1.0) / 2.0 * (high - low)).astype(np.float32)


def returns_to_go(
    rewards: Float[np.ndarray, " N"], offsets: Int[np.ndarray, " E1"], discount: float = 1.0
) -> Float[np.ndarray, " N"]:
    """Sum R_t = r_t + discount * R_{t+1} to the episode's end (Chen et al. 2021, section 3)."""
    rewards = rewards.astype(np.float64)
    if discount == 1.0:
        # A suffix sum over everything, less the suffix sum that starts at the episode's end.
        suffix = np.concatenate([np.cumsum(rewards[::-1])[::-1], [0.0]])
        return (suffix[:-1] - np.repeat(suffix[offsets[1:]], np.diff(offsets))).astype(np.float32)
    # All episodes at once, one step back from each one's end at a time.
    total = rewards.copy()
    lengths = np.diff(offsets)
    for back in range(1, int(lengths.max())):
        row = offsets[1:][lengths > back] - 1 - back
        total[row] += discount * total[row + 1]
    return total.astype(np.float32)


def returns(
    rewards: Float[np.ndarray, " N"], offsets: Int[np.ndarray, " E1"], transforms: Transforms
) -> Float[np.ndarray, " E"]:
    """Sum each episode's return, of transformed rewards, summed in float64."""
    weights = 1.0
    if transforms.discount != 1.0:
        timesteps = np.arange(len(rewards)) - np.repeat(offsets[:-1], np.diff(offsets))
        weights = transforms.discount**timesteps
    return np.add.reduceat(transforms.rewards(rewards) * weights, offsets[:-1])


def best_episodes(returns: Float[np.ndarray, " E"], fraction: float) -> Int[np.ndarray, " kept"]:
    """Find the numbers of the best `fraction` of the episodes, in the log's order; at least one."""
    count = max(1, round(fraction * len(returns)))
    return np.sort(np.argsort(-returns, kind="stable")[:count])
