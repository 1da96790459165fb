"""Three arms, pulled once: an environment whose good returns are luck and nothing else."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces

from dt.play.faults import Infos

# What each arm pays, and how often. The mean falls from arm to arm as the best that can come rises:
# whoever asks for the best return that was ever logged pulls the worst arm.
PRIZES = np.array([[1.0, 1.0], [3.0, -2.0], [10.0, -1.0]])
CHANCES = np.array([1.0, 0.5, 0.1])


class Gamble(gymnasium.Env):
    """One pull an episode (Paster et al. 2022, section 1, in small).

    Data of an agent that pulls at random holds returns up to 10, which no policy reaches: arm 0
    brings 1.0 on average, arm 1 0.5 and arm 2 0.1. A score card says so (`--targets expert`).
    """

    metadata = {"render_modes": []}

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Discrete(len(CHANCES))

    def reset(
        self, *, seed: int | None = None, options: Infos | None = None
    ) -> tuple[np.ndarray, Infos]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, Infos]:
        won = self.np_random.random() < CHANCES[action]
        return np.ones(1, np.float32), float(PRIZES[action][0 if won else 1]), True, False, {}
