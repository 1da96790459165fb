"""Are episodes shared out as their weights have it?"""

from __future__ import annotations

import pytest

from dt.collect.plan import share_out


@pytest.mark.parametrize(
    ("episodes", "weights", "shares"),
    [
        (10, [1, 1], [5, 5]),
        (10, [1, 1, 1], [4, 3, 3]),
        (7, [3, 1], [5, 2]),
        (100, [0.1, 0.2, 0.7], [10, 20, 70]),
        (2, [1, 1], [1, 1]),
    ],
)
def test_episodes_are_shared_out_whole(
    episodes: int, weights: list[float], shares: list[int]
) -> None:
    assert share_out(episodes, [float(w) for w in weights]) == shares


@pytest.mark.parametrize(
    ("episodes", "weights", "message"),
    [
        (10, [1.0, 0.0], "--weights 1.0 0.0: give positive numbers"),
        (10, [1.0, float("nan")], "give positive numbers"),
        (10, [1.0, 999.0], "--episodes 10 leaves policy 1 without one"),
        (2, [1.0, 1.0, 1.0], "--episodes 2 leaves policy 3 without one"),
    ],
)
def test_shares_that_cannot_be_are_refused(
    episodes: int, weights: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        share_out(episodes, weights)
