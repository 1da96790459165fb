"""Do the intervals hold the truth as often as they say, where the truth is known?

`benchmarks/interval_coverage.py` prints the whole table; here are its corners, each with the wrong
formula that would miss it.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from dt.evaluation.intervals import (
    NUM_RESAMPLES,
    correlation,
    improvement_interval,
    interquartile_mean,
    mean_interval,
    rank_correlation,
    runs_interval,
    slope,
    welch_interval,
    within_seen,
)


def share_within(intervals: np.ndarray, truth: float) -> float:
    return float(((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])).mean())


def percentile_interval(sample: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The plain bootstrap, which is too narrow for small samples."""
    n = sample.shape[-1]
    counts = rng.multinomial(n, np.ones(n) / n, NUM_RESAMPLES)
    return np.quantile(sample @ counts.T / n, [0.025, 0.975], axis=-1).T


@pytest.mark.parametrize("n", [5, 20])
def test_the_interval_of_normal_numbers_holds_their_mean_19_times_in_20(n: int) -> None:
    rng = np.random.default_rng(n)
    intervals, plain = [], []
    for _ in range(20):
        sample = rng.normal(3.0, 2.0, size=(150, n))
        intervals.append(mean_interval(sample, rng))
        plain.append(percentile_interval(sample, rng))
    assert 0.936 < share_within(np.concatenate(intervals), 3.0) < 0.968
    assert share_within(np.concatenate(plain), 3.0) < 0.936


def test_skewed_numbers_are_no_obstacle() -> None:
    """Both the plain bootstrap and Student's t miss the mean of ten exponential numbers too often,
    by lying too low."""
    rng = np.random.default_rng(1)
    intervals, plain, student = [], [], []
    for _ in range(20):
        sample = rng.exponential(1.0, size=(150, 10))
        intervals.append(mean_interval(sample, rng))
        plain.append(percentile_interval(sample, rng))
        half = 2.262157 * sample.std(axis=1, ddof=1) / np.sqrt(10)
        student.append(np.stack([sample.mean(axis=1) - half, sample.mean(axis=1) + half], axis=1))
    assert 0.93 < share_within(np.concatenate(intervals), 1.0) < 0.965
    assert share_within(np.concatenate(plain), 1.0) < 0.90
    assert share_within(np.concatenate(student), 1.0) < 0.925


def test_the_interval_is_that_of_resamples_measured_in_their_own_errors() -> None:
    sample = np.random.default_rng(2).normal(10.0, 3.0, size=12)
    interval = mean_interval(sample, np.random.default_rng(5))
    drawn = sample[np.random.default_rng(5).integers(0, 12, size=(NUM_RESAMPLES, 12))]
    errors = drawn.std(axis=1, ddof=1) / np.sqrt(12)
    t = (drawn.mean(axis=1) - sample.mean()) / errors
    error = sample.std(ddof=1) / np.sqrt(12)
    high, low = np.quantile(t, [0.025, 0.975])
    np.testing.assert_allclose(
        interval, [sample.mean() - low * error, sample.mean() - high * error]
    )


def test_rows_have_the_intervals_they_have_alone() -> None:
    sample = np.random.default_rng(3).normal(size=(2, 3, 20))
    together = mean_interval(sample, np.random.default_rng(0))
    assert together.shape == (2, 3, 2)
    alone = mean_interval(sample[1, 2], np.random.default_rng(0))
    np.testing.assert_allclose(together[1, 2], alone)


def test_a_lower_level_is_a_narrower_interval_around_the_mean() -> None:
    sample = np.random.default_rng(2).normal(10.0, 1.0, size=30)
    wide = mean_interval(sample, np.random.default_rng(0), level=0.99)
    narrow = mean_interval(sample, np.random.default_rng(0), level=0.5)
    assert wide[0] < narrow[0] < sample.mean() < narrow[1] < wide[1]


def test_one_short_episode_among_full_ones_does_not_make_the_interval_endless() -> None:
    """A third of the resamples leave it out and have no spread to be measured in."""
    interval = mean_interval(
        np.array([200.0, 200.0, 150.0, 200.0, 200.0]), np.random.default_rng(0)
    )
    assert 100.0 < interval[0] < 180.0 < 195.0 < interval[1] < 250.0


def test_equal_numbers_have_no_width_and_a_single_one_has_no_interval() -> None:
    rng = np.random.default_rng(0)
    low, high = mean_interval(np.full(3, 0.1), rng)
    assert low == high == pytest.approx(0.1)
    assert np.isnan(mean_interval(np.array([4.0]), rng)).all()
    assert np.isnan(welch_interval(np.array([4.0]), np.array([1.0, 2.0]))).all()
    alike = welch_interval(np.array([[4.0, 4.0], [4.0, 5.0]]), np.array([[6.5] * 3, [6.5] * 3]))
    assert alike[0].tolist() == [2.5, 2.5] and alike[1, 0] < 2.0 < alike[1, 1]
    assert np.isnan(runs_interval(np.array([4.0]), interquartile_mean, rng)).all()
    assert np.isnan(improvement_interval(np.ones((1, 1)), np.ones((1, 5)))[1]).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # Twelve numbers: the middle six. Nine: the middle three and three quarters of the next two.
        ([5, 8, 4, 38, 8, 6, 9, 7, 7, 3, 1, 6], 6.5),
        ([1, 3, 5, 7, 9, 11, 13, 15, 17], 9.0),
        ([1, 2, 3, 4, 100], (0.75 * 2 + 3 + 0.75 * 4) / 2.5),
        ([0, 0, 100], 100 / 6),  # rliable cuts nothing from three: 33.3
        ([7], 7.0),
        ([1, 5], 3.0),
    ],
)
def test_the_interquartile_mean_is_that_of_worked_examples(
    values: list[float], expected: float
) -> None:
    assert interquartile_mean(np.array(values, np.float64)) == pytest.approx(expected)


def test_of_a_multiple_of_four_it_is_the_trimmed_mean_that_rliable_takes() -> None:
    scores = np.random.default_rng(4).normal(size=(5, 28))
    expected = scipy.stats.trim_mean(scores, 0.25, axis=1)
    np.testing.assert_allclose(interquartile_mean(scores), expected)


@pytest.mark.parametrize("num_runs", [3, 5])
def test_the_interval_of_a_few_runs_holds_what_many_would_bring(num_runs: int) -> None:
    rng = np.random.default_rng(num_runs)
    runs = rng.normal(2.0, 1.0, size=(num_runs, 600))
    # Each column is a trial: together they share the drawing of runs, not the runs.
    intervals = runs_interval(runs, lambda s: interquartile_mean(np.moveaxis(s, -2, -1)), rng)
    assert 0.92 < share_within(intervals, 2.0) < 0.985
    centres = interquartile_mean(runs.T)
    stretch = np.sqrt(num_runs / (num_runs - 1)) * {3: 4.302653, 5: 2.776445}[num_runs] / 1.959964
    plain = centres[:, None] + (intervals - centres[:, None]) / stretch
    assert share_within(plain, 2.0) < {3: 0.80, 5: 0.92}[num_runs]


def test_a_run_is_drawn_with_all_that_it_scored() -> None:
    """The runs' lines are parallel: however they are drawn, the difference of two targets stays."""
    scores = np.array([[0.0, 1.0], [5.0, 6.0], [7.0, 8.0]])

    def difference(drawn: np.ndarray) -> np.ndarray:
        return interquartile_mean(drawn[..., 1]) - interquartile_mean(drawn[..., 0])

    interval = runs_interval(scores, difference, np.random.default_rng(0))
    np.testing.assert_allclose(interval, [1.0, 1.0])


def test_welch_s_interval_is_scipy_s_and_keeps_its_word_where_a_pooled_one_fails() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(0.0, 3.0, size=(1000, 5)), rng.normal(1.0, 1.0, size=(1000, 20))
    intervals = welch_interval(a, b)
    expected = scipy.stats.ttest_ind(b[0], a[0], equal_var=False).confidence_interval()
    np.testing.assert_allclose(intervals[0], expected)
    pooled = scipy.stats.ttest_ind(b, a, axis=1).confidence_interval()
    assert 0.925 < share_within(intervals, 1.0) < 0.97
    assert share_within(np.stack([pooled.low, pooled.high], axis=1), 1.0) < 0.85


def test_improvement_is_mann_and_whitney_s_share_of_pairs() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.integers(0, 6, 12).astype(float), rng.integers(2, 8, 15).astype(float)
    p, (low, high) = improvement_interval(a[None], b[None])
    assert p == pytest.approx(scipy.stats.mannwhitneyu(b, a).statistic / (12 * 15))
    assert low < p < high
    back, (back_low, back_high) = improvement_interval(b[None], a[None])
    assert (back, back_low, back_high) == pytest.approx((1 - p, 1 - high, 1 - low))


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_the_improvement_s_interval_holds_it(shift: float) -> None:
    rng = np.random.default_rng(8)
    truth = scipy.stats.norm.cdf(shift / np.sqrt(2))
    intervals = [
        improvement_interval(rng.normal(0, 1, (1, 20)), rng.normal(shift, 1, (1, 20)))[1]
        for _ in range(1000)
    ]
    assert 0.93 < share_within(np.array(intervals), truth) < 0.975


def test_twenty_wins_of_twenty_are_no_certainty() -> None:
    """A bootstrap would say 1 to 1."""
    p, (low, high) = improvement_interval(np.zeros((1, 20)), np.ones((1, 20)))
    assert p == 1.0 and high == pytest.approx(1.0) and 0.85 < low < 0.95
    p, (low, high) = improvement_interval(np.ones((1, 20)), np.ones((1, 20)))
    assert p == 0.5 and 0.3 < low < 0.4


def test_pairs_that_share_their_luck_tell_more() -> None:
    luck = np.random.default_rng(9).normal(size=(1, 40))
    noise = np.random.default_rng(10).normal(0.0, 0.3, size=(2, 1, 40))
    a, b = luck + noise[0], luck + 0.3 + noise[1]
    _, (low, high) = improvement_interval(a, b, paired=True)
    _, (apart_low, apart_high) = improvement_interval(a, b)
    assert high - low < 0.8 * (apart_high - apart_low)


def test_ties_share_their_mean_rank() -> None:
    ranks = np.array([3.0, 0.0, 1.5, 1.5])
    tied, rising = np.array([30.0, 10.0, 20.0, 20.0]), np.array([9.0, 0.0, 1.0, 2.0])
    assert rank_correlation(tied, rising) == correlation(ranks, np.array([3.0, 0.0, 1.0, 2.0]))
    assert rank_correlation(np.exp(tied), tied) == 1.0


def test_of_two_numbers_the_interval_is_student_s() -> None:
    sample = np.array([[1.0, 4.0], [2.0, 2.0]])
    intervals = mean_interval(sample, np.random.default_rng(0))
    expected = scipy.stats.ttest_1samp(sample[0], 0.0).confidence_interval()
    np.testing.assert_allclose(intervals, [expected, [2.0, 2.0]])


def test_the_slope_of_each_row_is_numpy_s() -> None:
    x, y = np.array([0.0, 1.0, 4.0]), np.random.default_rng(11).normal(size=(5, 3))
    np.testing.assert_allclose(slope(x, y), [np.polyfit(x, row, 1)[0] for row in y])


def test_a_constant_correlates_with_nothing() -> None:
    assert correlation(np.arange(3.0), np.ones(3)) is None
    assert correlation(np.arange(3.0), -np.arange(3.0)) == pytest.approx(-1.0)


def test_an_interval_ends_where_returns_that_were_seen_end() -> None:
    """Two episodes of CartPole, whose cap of 200 the data have reached."""
    returns = np.array([[156.0, 200.0], [200.0, 200.0], [20.0, 24.0]])
    loose = mean_interval(returns, np.random.default_rng(0))
    assert loose[0, 1] > 400 and loose[2, 0] < 0
    cut = within_seen(loose, returns, np.array([9.0, 200.0]))
    assert cut[0].tolist() == [9.0, 200.0] and cut[1].tolist() == [200.0, 200.0]
    assert cut[2, 0] == 9.0 and cut[2, 1] == loose[2, 1]
    # A policy that is better than all data is not cut down to them.
    assert within_seen(loose, returns, np.array([9.0, 30.0]))[0, 1] == 200.0
