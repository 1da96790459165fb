"""Calibration errors of predicted returns: probabilities against the frequencies of what came.

Two numbers, as either alone misses something. The expected calibration error reads only the
likeliest bin: with many bins no probability is large, and a wrong one is a small error. The
quantile calibration error reads the whole spread: a head that is too sure, or that expects too
much, shows in it however many bins there are. Measure both on episodes that were not trained on.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

LEVELS = np.linspace(0.05, 0.95, 19)


def expected_calibration_error(
    probabilities: Float[np.ndarray, "N K"], bins: Int[np.ndarray, " N"], num_groups: int = 15
) -> float:
    """Measure how far the likeliest bin's probability is from how often it was right, on average.

    Guo et al. 2017, eq. 3: predictions are grouped by that probability into equal intervals of
    [0, 1], and each group's gap is weighted by its share of the predictions.

    Args:
        probabilities: of K bins, for each of N predictions.
        bins: those that the outcomes fell into.

    Raises:
        ValueError: without predictions, for rows that do not sum to 1, and for unknown bins.
    """
    _check(probabilities, bins, num_groups)
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == bins
    group = np.minimum((confidence * num_groups).astype(int), num_groups - 1)
    gaps = np.bincount(group, confidence - right, minlength=num_groups)
    return float(np.abs(gaps).sum() / len(bins))


def quantile_calibration_error(
    probabilities: Float[np.ndarray, "N K"], bins: Int[np.ndarray, " N"]
) -> float:
    """Measure how far the share of outcomes below each quantile is from its level, on average.

    Kuleshov et al. 2018, in absolute value, over the levels 0.05 to 0.95. Where in its bin an
    outcome lies is not known: it counts as evenly anywhere in it (Czado et al. 2009), so that few
    and wide bins are no error.

    Raises:
        ValueError: as `expected_calibration_error`.
    """
    _check(probabilities, bins, 1)
    wide = probabilities.astype(np.float64)
    own = wide[np.arange(len(bins)), bins]
    below = np.cumsum(wide, axis=1)[np.arange(len(bins)), bins] - own
    # The outcome's place among the predicted probabilities is uniform over [below, below + own].
    part = (LEVELS - below[:, None]) / np.maximum(own, 1e-12)[:, None]
    return float(np.abs(np.clip(part, 0.0, 1.0).mean(axis=0) - LEVELS).mean())


def _check(probabilities: np.ndarray, bins: np.ndarray, num_groups: int) -> None:
    if not len(bins) or len(bins) != len(probabilities):
        raise ValueError(
            f"there are {len(probabilities)} predictions and {len(bins)} outcomes; give one "
            f"outcome for each prediction, and at least one"
        )
    if num_groups < 1:
        raise ValueError(f"num_groups is {num_groups}; it must be at least 1")
    sums = probabilities.sum(axis=1)
    if not (np.abs(sums - 1.0) < 1e-3).all():
        row = int(np.argmax(np.abs(sums - 1.0)))
        raise ValueError(f"probabilities of row {row} sum to {sums[row]:g}; they must sum to 1")
    if bins.min() < 0 or bins.max() >= probabilities.shape[1]:
        raise ValueError(
            f"bins go from {bins.min()} to {bins.max()}; there are {probabilities.shape[1]} "
            f"predicted ones, counted from 0"
        )
