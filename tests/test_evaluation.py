"""Are the numbers of a score card right where the truth is known?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dt.data.describe import DatasetSummary
from dt.evaluation import _ranks, calibrate, mean_interval, parse_targets, time_limit

TARGETS = np.linspace(0.0, 100.0, 6)


def summarize(returns: np.ndarray) -> DatasetSummary:
    counts, edges = np.histogram(returns, bins=10)
    return DatasetSummary(
        name="planted",
        episodes=len(returns),
        steps=10 * len(returns),
        return_mean=float(returns.mean()),
        return_percentiles=tuple(np.percentile(returns, range(101)).tolist()),
        histogram_edges=tuple(edges.tolist()),
        histogram_counts=tuple(counts.tolist()),
    )


WIDE = summarize(np.linspace(0.0, 200.0, 201))  # the p-th percentile is 2p


def play(means: np.ndarray, noise: float = 1.0, episodes: int = 20) -> np.ndarray:
    """Returns of `episodes` episodes around each mean."""
    rng = np.random.default_rng(0)
    return means[:, None] + rng.normal(0.0, noise, size=(len(means), episodes))


def calibrated(means: np.ndarray, data: DatasetSummary = WIDE, **kwargs: Any) -> dict[str, Any]:
    result = calibrate(TARGETS, play(means, **kwargs), data, np.random.default_rng(1))
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["50", "-2.5e1"], [50.0, -25.0]),
        (["p50", "p0", "p100"], [100.0, 0.0, 200.0]),
        (["p2.5"], [5.0]),
        (["p5:p95:3"], [10.0, 100.0, 190.0]),
        (["0:10:5"], [0.0, 2.5, 5.0, 7.5, 10.0]),
        (["p50:300:2", "7"], [100.0, 300.0, 7.0]),
        (["10:20:1"], [10.0]),
    ],
)
def test_targets_are_returns_percentiles_or_spans(words: list[str], expected: list[float]) -> None:
    assert parse_targets(words, WIDE) == pytest.approx(expected)


@pytest.mark.parametrize(
    "word", ["high", "p", "p101", "p-1", "nan", "inf", "pnan", "1:2", "1:2:0", "1:x:3", "1:2:²", ""]
)
def test_a_word_that_is_no_target_is_named(word: str) -> None:
    with pytest.raises(ValueError, match=f"--targets '{word}' is no target"):
        parse_targets(["50", word], WIDE)


def coverage(n: int, trials: int) -> float:
    """How often the 95 % interval of n normal numbers holds their true mean, 3."""
    rng = np.random.default_rng(n)
    hits = 0
    for _ in range(trials):
        low, high = mean_interval(rng.normal(3.0, 2.0, size=n), rng)
        hits += low <= 3.0 <= high
    return hits / trials


def test_the_interval_of_twenty_episodes_holds_the_mean_19_times_in_20() -> None:
    assert 0.93 < coverage(20, 2000) < 0.97  # three standard errors are 0.015


def test_the_interval_of_five_episodes_is_not_too_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain percentile bootstrap holds the mean of five numbers in 83 % of trials."""
    monkeypatch.setattr("dt.evaluation.NUM_RESAMPLES", 1000)
    assert 0.90 < coverage(5, 1000) < 0.98


def test_the_interval_lies_around_the_mean_and_shrinks_with_the_level() -> None:
    sample = np.random.default_rng(2).normal(10.0, 1.0, size=30)
    wide = mean_interval(sample, np.random.default_rng(0), level=0.99)
    narrow = mean_interval(sample, np.random.default_rng(0), level=0.5)
    assert wide[0] < narrow[0] < sample.mean() < narrow[1] < wide[1]


@pytest.mark.parametrize("sample", [[4.0], [4.0, 4.0, 4.0]])
def test_without_spread_the_interval_is_the_mean(sample: list[float]) -> None:
    assert mean_interval(np.array(sample), np.random.default_rng(0)) == (4.0, 4.0)


def test_an_agent_that_does_what_it_is_asked_is_steerable() -> None:
    result = calibrated(TARGETS)
    assert result["verdict"] == "steerable"
    assert result["slope"] == pytest.approx(1.0, abs=0.02)
    assert result["pearson"] > 0.999 and result["spearman"] == 1.0
    assert result["mae_over_range"] < 0.01
    assert result["coverage"] == pytest.approx(1.0, abs=0.02)
    assert result["monotone"] == "5/5"


def test_an_agent_that_follows_from_afar_is_steerable_roughly() -> None:
    assert calibrated(15.0 + 0.9 * TARGETS)["verdict"] == "steerable, roughly"


def test_an_agent_that_saturates_is_told_where_and_from_which_target() -> None:
    result = calibrated(np.minimum(TARGETS, 50.0), noise=0.0)
    assert result["verdict"] == "saturates at 50, asked for 80 and more"
    assert result["coverage"] == pytest.approx(0.5, abs=0.02)


def test_an_agent_short_of_every_target_saturates_from_the_first() -> None:
    verdict = calibrated(0.2 * TARGETS - 30.0, noise=0.0)["verdict"]
    assert verdict == "saturates at -10, asked for 0 and more"


@pytest.mark.parametrize("means", [np.full(6, 50.0), 100.0 - TARGETS, 50.0 + 0.05 * TARGETS])
def test_an_agent_that_does_the_same_or_the_reverse_ignores_the_return(means: np.ndarray) -> None:
    assert calibrated(means, noise=5.0)["verdict"] == "ignores the return"


def test_a_slope_that_chance_explains_ignores_the_return() -> None:
    result = calibrated(50.0 + 0.3 * TARGETS, noise=100.0)
    assert result["slope"] > 0.1 and result["slope_ci95"][0] < 0
    assert result["verdict"] == "ignores the return"


def test_returns_that_are_all_alike_cover_nothing_whatever_the_agent_does() -> None:
    expert = summarize(np.random.default_rng(3).normal(3000.0, 10.0, size=500))
    verdict = calibrated(TARGETS, data=expert)["verdict"]
    assert verdict.startswith("no coverage in the data")


def test_a_constant_return_correlates_with_nothing() -> None:
    result = calibrated(np.full(6, 50.0), noise=0.0)
    assert result["pearson"] is None and result["spearman"] is None
    assert result["slope"] == 0.0 and result["coverage"] == 0.0


@pytest.mark.parametrize("gain", [0.3, 0.7, 1.0])
def test_the_slope_s_interval_holds_the_slope(gain: float) -> None:
    result = calibrated(gain * TARGETS, noise=20.0)
    low, high = result["slope_ci95"]
    assert low < result["slope"] < high
    assert low < gain < high


def test_a_start_that_shifts_every_target_alike_does_not_widen_the_slope() -> None:
    """Episode i has the same seed at each target, so lucky starts move the line, not its slope."""
    luck = np.random.default_rng(4).normal(0.0, 30.0, size=20)
    result = calibrate(TARGETS, TARGETS[:, None] + luck, WIDE, np.random.default_rng(0))
    assert result is not None
    np.testing.assert_allclose(result["slope_ci95"], [1.0, 1.0], atol=1e-9)


def test_one_episode_a_target_has_no_interval_and_no_verdict() -> None:
    result = calibrated(TARGETS, episodes=1)
    assert result["slope_ci95"] is None and result["slope"] == pytest.approx(1.0, abs=0.05)
    assert result["verdict"] == "one episode a target: too few to say"


def test_the_line_through_all_episodes_is_the_least_squares_line() -> None:
    returns = play(0.4 * TARGETS + 7.0, noise=30.0)
    result = calibrate(TARGETS, returns, WIDE, np.random.default_rng(0))
    assert result is not None
    by_numpy = np.polyfit(np.repeat(TARGETS, returns.shape[1]), returns.ravel(), 1)[0]
    assert result["slope"] == pytest.approx(by_numpy)


def test_monotone_counts_the_pairs_that_rise() -> None:
    means = np.array([0.0, 20.0, 15.0, 15.0, 60.0, 70.0])
    assert calibrated(means, noise=0.0)["monotone"] == "3/5"


def test_the_order_of_the_targets_does_not_matter() -> None:
    order = np.array([3, 0, 5, 1, 4, 2])
    returns = play(np.minimum(TARGETS, 50.0))
    expected = calibrate(TARGETS, returns, WIDE, np.random.default_rng(0))
    shuffled = calibrate(TARGETS[order], returns[order], WIDE, np.random.default_rng(0))
    assert shuffled == expected


@pytest.mark.parametrize("targets", [[50.0], [50.0, 50.0]])
def test_a_single_target_has_no_calibration(targets: list[float]) -> None:
    chosen = np.array(targets)
    assert calibrate(chosen, play(chosen), WIDE, np.random.default_rng(0)) is None


def test_errors_are_shares_of_the_targets_span() -> None:
    assert calibrated(TARGETS + 10.0, noise=0.0)["mae_over_range"] == pytest.approx(0.1)


def test_ties_share_their_mean_rank() -> None:
    assert _ranks(np.array([30.0, 10.0, 20.0, 20.0])).tolist() == [3.0, 0.0, 1.5, 1.5]


def test_a_time_limit_is_given_or_the_environment_s_own() -> None:
    assert time_limit("CartPole-v1", {}) == 500
    assert time_limit("CartPole-v1", {"max_episode_steps": 9}) == 9
    assert time_limit("Nowhere-v7", {}) is None
    assert time_limit(None, {}) is None
