"""Are slopes, their ratio, variety and copies what they are by hand?"""

from __future__ import annotations

import numpy as np
import pytest

from dt.text.measures import (
    UNKNOWN,
    copied,
    correlation,
    distinct,
    resampled,
    slope,
    slope_ratio,
    steps_up,
)

RNG = np.random.default_rng(0)


def test_the_ratio_of_slopes_has_an_interval_that_holds_the_truth() -> None:
    x = RNG.normal(size=600)
    written, real = 0.4 * x + RNG.normal(size=600), 0.8 * x + RNG.normal(size=600)
    ratio = slope_ratio((x, written), (x, real))
    assert ratio.value is not None and ratio.interval is not None
    assert ratio.interval[0] < 0.5 < ratio.interval[1]
    assert ratio.above_zero and ratio.interval[1] - ratio.interval[0] < 0.5


def test_noise_has_a_slope_whose_interval_holds_zero() -> None:
    found = resampled(slope, (RNG.normal(size=400), RNG.normal(size=400)))
    assert found.holds_zero and not found.above_zero


def test_what_is_constant_has_no_slope_and_no_correlation() -> None:
    x = np.ones(20)
    assert resampled(slope, (x, RNG.normal(size=20))) == UNKNOWN
    assert resampled(correlation, (RNG.normal(size=20), x)) == UNKNOWN
    assert slope_ratio((RNG.normal(size=20), x), (RNG.normal(size=20), x)) == UNKNOWN


def test_correlation_is_pearson_s() -> None:
    x, y = RNG.normal(size=(2, 50))
    assert float(correlation(x, y)) == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_variety_and_copies_by_hand() -> None:
    assert distinct(["a b a b", "A c"], 1) == 3 / 6
    assert distinct(["a b a b", "a c"], 2) == 3 / 4
    assert distinct(["a"], 2) is None
    training = ["one two three four five six seven eight nine"]
    texts = ["Two three four five six, seven eight nine ten", "short"]
    assert copied(texts, training) == 1 / 2
    assert copied(["too short"], training) is None


def test_steps_up_counts_rises_alone() -> None:
    assert steps_up([1, 2, 2, 1, 3]) == 2
