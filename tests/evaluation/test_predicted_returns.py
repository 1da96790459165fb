"""Does the calibration error find planted errors, and none where there is none?"""

from __future__ import annotations

import numpy as np
import pytest

from dt.evaluation.predicted_returns import expected_calibration_error, quantile_calibration_error

N, K = 20_000, 40
RNG = np.random.default_rng(0)


def spread(centre: np.ndarray, width: float) -> np.ndarray:
    """Bells over K bins, one a row."""
    logits = -0.5 * ((np.arange(K) - centre[:, None]) / width) ** 2
    weights = np.exp(logits)
    return weights / weights.sum(axis=1, keepdims=True)


def drawn_from(probabilities: np.ndarray) -> np.ndarray:
    below = np.cumsum(probabilities, axis=1)
    return (RNG.uniform(size=(len(below), 1)) * below[:, -1:] > below).sum(axis=1)


CENTRES = RNG.uniform(8, 32, N)
TRUE = spread(CENTRES, 3.0)
OUTCOMES = drawn_from(TRUE)


def test_right_predictions_have_next_to_no_error() -> None:
    assert expected_calibration_error(TRUE, OUTCOMES) < 0.01
    assert quantile_calibration_error(TRUE, OUTCOMES) < 0.01


def test_what_is_always_so_is_always_right() -> None:
    sure = np.eye(3)[[0, 1, 2, 1]]
    assert expected_calibration_error(sure, np.array([0, 1, 2, 1])) == 0.0
    assert expected_calibration_error(sure, np.array([1, 2, 0, 0])) == 1.0


def test_the_error_by_hand() -> None:
    """Sure to 0.9 and right in half of the cases; sure to 0.6 and always right."""
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.6, 0.4]] * 6)
    bins = np.array([0, 0, 1, 1] + [0] * 6)
    error = expected_calibration_error(probabilities, bins)
    assert error == pytest.approx(0.4 * (0.9 - 0.5) + 0.6 * (1.0 - 0.6))
    # In one group the two gaps would cancel in part.
    assert expected_calibration_error(probabilities, bins, num_groups=1) == pytest.approx(0.08)


def test_a_head_that_is_too_sure_is_found_by_both() -> None:
    sure = spread(CENTRES, 0.7)
    assert expected_calibration_error(sure, OUTCOMES) > 0.3
    assert quantile_calibration_error(sure, OUTCOMES) > 0.05


def test_hopes_in_many_bins_are_found_by_the_quantiles_alone() -> None:
    """Seven bins too high at bins of 5 % each: no single probability is far off."""
    wide, wrong = spread(CENTRES, 8.0), spread(CENTRES + 7.0, 8.0)
    outcomes = drawn_from(wide)
    assert expected_calibration_error(wrong, outcomes) < 0.05
    assert quantile_calibration_error(wrong, outcomes) > 0.15
    assert quantile_calibration_error(wide, outcomes) < 0.01


def test_few_wide_bins_are_no_error_of_the_quantiles() -> None:
    halves = np.full((N, 2), 0.5)
    assert quantile_calibration_error(halves, RNG.integers(0, 2, N)) < 0.01
    sure = np.eye(2)[RNG.integers(0, 2, N)]
    assert quantile_calibration_error(sure, sure.argmax(axis=1)) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("probabilities", "bins", "said"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), "0 predictions and 0 outcomes"),
        (np.eye(2), np.zeros(3, int), "2 predictions and 3 outcomes"),
        (np.ones((2, 2)), np.zeros(2, int), "probabilities of row 0 sum to 2"),
        (np.full((1, 2), np.nan), np.zeros(1, int), "probabilities of row 0 sum to nan"),
        (np.eye(2), np.array([0, 2]), "bins go from 0 to 2; there are 2"),
        (np.eye(2), np.array([-1, 0]), "bins go from -1 to 0"),
    ],
)
def test_what_is_no_prediction_is_refused(
    probabilities: np.ndarray, bins: np.ndarray, said: str
) -> None:
    for measure in (expected_calibration_error, quantile_calibration_error):
        with pytest.raises(ValueError, match=said):
            measure(probabilities, bins)
