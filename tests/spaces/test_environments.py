"""An environment's spaces are known where it can be made here, and nowhere else."""

from __future__ import annotations

import pytest
from gymnasium import spaces

from dt.spaces.environments import known_spaces


@pytest.mark.parametrize("name", [None, "Nowhere-v7", "module:Name-v0"])
def test_an_environment_that_is_not_registered_has_no_known_spaces(name: str | None) -> None:
    assert known_spaces(name, {}) is None


def test_an_environment_that_is_registered_has_its_own() -> None:
    found = known_spaces("CartPole-v1", {})
    assert found is not None and found[1] == spaces.Discrete(2)
