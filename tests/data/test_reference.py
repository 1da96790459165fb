"""Returns are scored between two that are told apart."""

from __future__ import annotations

import numpy as np
import pytest

from dt.data import Reference


def test_a_reference_maps_random_to_0_and_expert_to_100() -> None:
    reference = Reference("by hand", low=-20.0, high=180.0)
    scores = reference.normalize(np.array([-20.0, 80.0, 180.0, 280.0]))
    assert scores.tolist() == [0.0, 50.0, 100.0, 150.0]


@pytest.mark.parametrize("high", [5.0, 4.0, np.nan])
def test_a_reference_whose_expert_is_not_above_random_is_refused(high: float) -> None:
    with pytest.raises(ValueError, match="by hand: reference 5.* the second above"):
        Reference("by hand", low=5.0, high=high)
