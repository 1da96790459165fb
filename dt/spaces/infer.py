"""Guess the spaces that arrays of steps are from, where no environment says."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces


def infer_spaces(
    observations: np.ndarray, actions: np.ndarray
) -> tuple[gymnasium.Space, gymnasium.Space]:
    """Guess spaces for arrays of an environment that cannot be made here.

    Bytes in two or three axes are images. Integer actions become Discrete(largest + 1). Float
    actions within [-1, 1] become that Box, the convention of every continuous Gymnasium task;
    others an unbounded Box.
    """
    shape = observations.shape[1:]
    observation_space: gymnasium.Space = spaces.Box(-np.inf, np.inf, shape, np.float32)
    if observations.dtype == np.uint8 and len(shape) in (2, 3):
        observation_space = spaces.Box(0, 255, shape, np.uint8)
    if np.issubdtype(actions.dtype, np.integer) and actions.ndim == 1:
        return observation_space, spaces.Discrete(int(actions.max(initial=0)) + 1)
    inside = actions.min(initial=0.0) >= -1.0 and actions.max(initial=0.0) <= 1.0
    bound = 1.0 if inside else np.inf
    return observation_space, spaces.Box(-bound, bound, actions.shape[1:], np.float32)
