"""Spaces are guessed from arrays by their type, shape and bounds."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from dt.spaces.infer import infer_spaces

ACTIONS = np.zeros((3, 1), np.float32)


@pytest.mark.parametrize("shape", [(84, 84), (10, 10, 3)])
def test_bytes_in_two_or_three_axes_are_pictures(shape: tuple[int, ...]) -> None:
    found, _ = infer_spaces(np.zeros((3, *shape), np.uint8), ACTIONS)
    assert found == spaces.Box(0, 255, shape, np.uint8)


@pytest.mark.parametrize(
    "observations",
    [np.zeros((3, 4), np.uint8), np.zeros((3, 4, 4)), np.zeros((3, 4, 4), np.int64)],
)
def test_other_observations_are_numbers_without_bounds(observations: np.ndarray) -> None:
    found, _ = infer_spaces(observations, ACTIONS)
    assert found == spaces.Box(-np.inf, np.inf, observations.shape[1:], np.float32)


@pytest.mark.parametrize(
    ("largest", "smallest", "bound"),
    [(1.0, -1.0, 1.0), (0.5, 0.2, 1.0), (1.01, 0.0, np.inf), (0.0, -1.01, np.inf)],
)
def test_a_bound_of_1_is_guessed_where_no_action_is_beyond(
    largest: float, smallest: float, bound: float
) -> None:
    actions = np.array([[largest], [smallest]], np.float32)
    _, found = infer_spaces(np.zeros((2, 1), np.float32), actions)
    assert found == spaces.Box(-bound, bound, (1,), np.float32)
