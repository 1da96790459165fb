"""Which spaces are guessed from arrays, and does a space survive being written down?"""

from __future__ import annotations

import json

import numpy as np
import pytest
from gymnasium import spaces

from dt.spaces.environments import infer_spaces, known_spaces, space_from_text, space_to_text

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


@pytest.mark.parametrize("name", [None, "Nowhere-v7", "module:Name-v0"])
def test_an_environment_that_is_not_registered_has_no_known_spaces(name: str | None) -> None:
    assert known_spaces(name, {}) is None


def test_an_environment_that_is_registered_has_its_own() -> None:
    found = known_spaces("CartPole-v1", {})
    assert found is not None and found[1] == spaces.Discrete(2)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(5),
        spaces.Discrete(5, start=-2),
        spaces.Discrete(5, dtype=np.int32),
        spaces.Box(-1.0, 1.0, (2,), np.float32),
        spaces.Box(np.array([-np.inf, 0.1]), np.array([1 / 3, np.inf]), (2,), np.float64),
        spaces.Box(0, 255, (4, 3), np.uint8),
    ],
)
def test_a_space_survives_being_written_down(space: spaces.Space) -> None:
    text = space_to_text(space)
    found = space_from_text(text)
    assert found == space and found.dtype == space.dtype
    assert json.loads(text)["type"] == type(space).__name__
