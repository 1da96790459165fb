"""Intervals of numbers that come from a few episodes or a few runs, and the numbers themselves.

`benchmarks/interval_coverage.py` measures how often each of these intervals holds the truth.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from jaxtyping import Float

NUM_RESAMPLES = 2000
LEVEL = 0.95
# A resample that drew one episode over and over has no spread; it counts as having this share of
# the sample's, or a single outlier would make the interval endless.
MIN_SPREAD = 0.3


def mean_interval(
    sample: Float[np.ndarray, "*T n"], rng: np.random.Generator, level: float = LEVEL
) -> Float[np.ndarray, "*T 2"]:
    """Bootstrap a mean's interval, studentised, over the last axis; NaN for a single number.

    The resampled means are measured in their own standard errors (Efron and Tibshirani 1993,
    12.5), which makes up for small samples and for skew: a plain percentile interval of ten
    exponential numbers holds their mean in 87 % of trials, this one in 95 %. All rows share the
    resamples.

    No interval knows a tail that the sample does not show: of a success in ten, twenty episodes
    hold the truth in 86 % of trials, and equal numbers have an interval without width.
    """
    n = sample.shape[-1]
    mean = sample.mean(axis=-1, keepdims=True)
    if n == 1:
        return np.full((*sample.shape[:-1], 2), np.nan)
    centred = sample - mean
    alike = np.ptp(sample, axis=-1, keepdims=True) == 0
    std = np.where(alike, 0.0, sample.std(axis=-1, ddof=1, keepdims=True))
    tail = (1 - level) / 2
    if n == 2:  # resamples of two numbers take three values: Student's t
        return mean + std / np.sqrt(2) * _student_quantile(1, np.array([tail, 1 - tail]))
    counts = _resample_counts(n, rng).T
    shift = centred @ counts / n
    variance = np.maximum(centred**2 @ counts / n - shift**2, 0.0) * n / (n - 1)
    spread = np.where(alike, 1.0, np.maximum(np.sqrt(variance), MIN_SPREAD * std))
    high, low = np.quantile(shift / spread, [tail, 1 - tail], axis=-1)
    return mean - std * np.stack([low, high], axis=-1)


def within_seen(
    interval: Float[np.ndarray, "*T 2"], *seen: np.ndarray
) -> Float[np.ndarray, "*T 2"]:
    """Cut an interval of mean returns off at the lowest and highest return that was ever seen.

    Student's t for two episodes of CartPole reaches from 102 to 254, where no episode can bring
    more than 200: a mean lies within what returns can be, and that holds all that the data and the
    episodes came to. The cut can only be wrong where the true mean is above every return that was
    seen, or below; the bounds themselves are not known, and no wider ones are made up.
    """
    low, high = min(map(np.min, seen)), max(map(np.max, seen))
    return np.clip(interval, low, high)


def welch_interval(
    a: Float[np.ndarray, "*T n"], b: Float[np.ndarray, "*T m"], level: float = LEVEL
) -> Float[np.ndarray, "*T 2"]:
    """Find the interval of mean(b) - mean(a) for samples that have nothing in common (Welch 1947).

    NaN where one of them is a single number; without width where neither varies.
    """
    from scipy.stats import ttest_ind  # takes as long to import as JAX

    difference = b.mean(axis=-1) - a.mean(axis=-1)
    if min(a.shape[-1], b.shape[-1]) == 1:
        return np.full((*difference.shape, 2), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numbers that are alike, as below
        interval = ttest_ind(b, a, axis=-1, equal_var=False).confidence_interval(level)
    alike = (np.ptp(a, axis=-1) == 0) & (np.ptp(b, axis=-1) == 0)
    ends = [np.where(alike, difference, end) for end in (interval.low, interval.high)]
    return np.stack(ends, axis=-1)


def interquartile_mean(values: Float[np.ndarray, "*T n"]) -> Float[np.ndarray, "*T"]:
    """Take the mean of the middle half, over the last axis; numbers on the quartiles count in part.

    With a multiple of four numbers this is rliable's (Agarwal et al. 2021); otherwise rliable
    rounds the quarters down, and of three numbers cuts none.
    """
    n = values.shape[-1]
    edges = np.arange(n + 1) / n
    inside = np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25)
    return np.asarray(np.sort(values, axis=-1) @ (2 * np.maximum(inside, 0.0)))


def runs_interval(
    scores: Float[np.ndarray, "R ..."],
    statistic: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
    level: float = LEVEL,
) -> Float[np.ndarray, "*T 2"]:
    """Bootstrap the interval of a statistic of runs, each drawn with all that it scored.

    As in Agarwal et al. 2021 every target keeps its number of runs. A run is one network at all
    targets, so it is drawn whole; its scores already carry the luck of its episodes, and drawing
    those again would count it twice. The percentiles are stretched about the estimate by
    sqrt(R / (R-1)) and from normal to t quantiles: unstretched, three runs' interval holds the
    truth in 75 % of trials, stretched in 94 %.

    Args:
        statistic: scores with any number of axes before (R, ...) -> numbers with those axes first.
    """
    count = len(scores)
    estimate = np.asarray(statistic(scores))
    if count == 1:
        return np.full((*estimate.shape, 2), np.nan)
    tail = (1 - level) / 2
    drawn = statistic(scores[rng.integers(0, count, size=(NUM_RESAMPLES, count))])
    heavier = _student_quantile(count - 1, tail) / NormalDist().inv_cdf(tail)
    stretch = np.sqrt(count / (count - 1)) * heavier
    ends = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return np.moveaxis(estimate + stretch * (ends - estimate), 0, -1)


def improvement_interval(
    a: Float[np.ndarray, "T n"],
    b: Float[np.ndarray, "T m"],
    paired: bool = False,
    level: float = LEVEL,
) -> tuple[float, tuple[float, float]]:
    """Estimate P(B > A) and its interval: a draw of b against one of a at the same target, over T.

    The estimate is Mann and Whitney's, ties counting half, as in rliable. Its variance is that of
    DeLong et al. 1988; the interval is Wilson's (1927) for as many coins as have that variance,
    since a bootstrap says "1 to 1" when every b is above every a.

    Args:
        paired: column i of both was drawn together.
    """
    (num_targets, n), m = a.shape, b.shape[1]
    wins = (b[:, None, :] > a[:, :, None]) + 0.5 * (b[:, None, :] == a[:, :, None])  # (T, n, m)
    p = float(wins.mean())
    if min(n, m) == 1:
        return p, (float("nan"), float("nan"))
    of_a, of_b = wins.mean(axis=(0, 2)), wins.mean(axis=(0, 1))
    if paired:
        variance = (of_a + of_b).var(ddof=1) / n
    else:
        variance = of_a.var(ddof=1) / n + of_b.var(ddof=1) / m
    # Nearly all won leaves the variance to one or two episodes: it is not believed beyond this.
    fewest = min(n, m) * num_targets
    coins = min(p * (1 - p) / variance, 4 * fewest) if variance > 0 else 2 * fewest
    q = float(-_student_quantile(n - 1 if paired else n + m - 2, (1 - level) / 2))
    middle = (p + q * q / (2 * coins)) / (1 + q * q / coins)
    half = q / (1 + q * q / coins) * np.sqrt(p * (1 - p) / coins + (q / (2 * coins)) ** 2)
    return p, (max(0.0, float(middle - half)), min(1.0, float(middle + half)))


def _student_quantile(freedom: int, share: float | np.ndarray) -> np.ndarray:
    from scipy.special import stdtrit  # training starts a quarter of a second earlier without it

    return np.asarray(stdtrit(freedom, share))


def slope(x: Float[np.ndarray, " T"], y: Float[np.ndarray, "*B T"]) -> Float[np.ndarray, "*B"]:
    """Fit the least-squares line through (x, y), for each row of y, and give its slope."""
    centred = x - x.mean()
    return np.asarray(y @ centred / (centred @ centred))


def correlation(x: Float[np.ndarray, " T"], y: Float[np.ndarray, " T"]) -> float | None:
    """Give Pearson's correlation; None where one is constant, and correlates with nothing."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def rank_correlation(x: Float[np.ndarray, " T"], y: Float[np.ndarray, " T"]) -> float | None:
    """Give Spearman's correlation, ties sharing their mean rank; None as in `correlation`."""
    from scipy.stats import rankdata

    return correlation(rankdata(x), rankdata(y))


def _resample_counts(n: int, rng: np.random.Generator) -> Float[np.ndarray, "R n"]:
    """How often each of n numbers is drawn when n are drawn with replacement."""
    drawn = rng.integers(0, n, size=(NUM_RESAMPLES, n)) + n * np.arange(NUM_RESAMPLES)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=NUM_RESAMPLES * n)
    return counts.reshape(NUM_RESAMPLES, n).astype(np.float64)
