"""A space survives being written down, its integer types too."""

from __future__ import annotations

import json

import numpy as np
import pytest
from gymnasium import spaces

from dt.spaces.text import space_from_text, space_to_text


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
