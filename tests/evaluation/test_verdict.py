"""Does one line say the truth about an agent, where the truth is planted?"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from planted import WIDE, summarize

from dt.data.summary import DatasetSummary
from dt.evaluation.parts import Calibration
from dt.evaluation.scores import calibrate
from dt.evaluation.verdict import agreement, beyond, expected

TARGETS = np.linspace(0.0, 100.0, 6)


def play(means: np.ndarray, noise: float = 1.0, episodes: int = 20) -> np.ndarray:
    """Returns of `episodes` episodes around each mean."""
    rng = np.random.default_rng(0)
    return means[:, None] + rng.normal(0.0, noise, size=(len(means), episodes))


def kind_of(verdict: str) -> str:
    """The verdict without its numbers."""
    return re.sub(r"[\d.-]+", "N", verdict).partition(", but is off")[0].partition("; stays")[0]


def calibrated(means: np.ndarray, data: DatasetSummary = WIDE, **kwargs: Any) -> Calibration:
    result = calibrate(TARGETS, play(means, **kwargs), data, np.random.default_rng(1))
    assert result is not None
    return result


def test_an_agent_that_does_what_it_is_asked_steers() -> None:
    result = calibrated(TARGETS)
    assert result.verdict == "steers"
    assert result.slope.value == pytest.approx(1.0, abs=0.02)
    assert result.scores["pearson"] > 0.999 and result.scores["spearman"] == 1.0
    assert result.mae_over_range.value < 0.01
    assert result.scores["coverage"] == pytest.approx(1.0, abs=0.02)
    assert result.scores["monotone"] == "5/5"


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        (TARGETS, "steers"),
        (TARGETS + 4.0, "steers"),
        (15.0 + 0.9 * TARGETS, "steers, but is off by 10 % of the range on average"),
        (0.9 * TARGETS - 15.0, "steers, but is off by 20 % of the range on average"),
        (0.4 * TARGETS, "steers weakly: 0.40 for each 1 asked for"),
        (np.minimum(TARGETS, 50.0), "steers; saturates at 50, asked for 60 and more"),
        (np.minimum(TARGETS, 58.0), "steers; saturates at 58, asked for 80 and more"),
        (np.minimum(TARGETS, 85.0), "steers; saturates at 85, asked for 100 and more"),
        (np.minimum(0.9 * TARGETS, 40.0), "steers; saturates at 40, asked for 60 and more"),
        (0.2 * TARGETS - 30.0, "steers; saturates at -10, asked for 0 and more"),
        (np.array([0.0, 20, 40, 60, 30, 40]), "steers; saturates at 60, asked for 80 and more"),
        (np.maximum(TARGETS, 50.0), "steers; stays at 50, asked for 40 and less"),
        (
            np.array([35.0, 35, 46, 75, 90, 100]),
            "steers, but is off by 8 % of the range on average; stays at 35, asked for 20 and less",
        ),
        (
            np.clip(TARGETS, 30.0, 70.0),
            "steers; saturates at 70, asked for 80 and more; stays at 30, asked for 20 and less",
        ),
    ],
)
def test_a_planted_agent_is_told_what_it_is(means: np.ndarray, verdict: str) -> None:
    assert calibrated(means, noise=0.0).verdict == verdict
    # Neither noise nor another scale changes the kind of it.
    assert kind_of(calibrated(means).verdict) == kind_of(verdict)
    returns = 1e-3 * play(means, noise=0.0) - 5.0
    scaled = calibrate(1e-3 * TARGETS - 5.0, returns, WIDE, np.random.default_rng(1))
    assert scaled is not None and kind_of(scaled.verdict) == kind_of(verdict)


def test_what_a_few_noisy_episodes_miss_is_no_limit() -> None:
    """The top is missed by 15, but five episodes that vary by 40 cannot tell."""
    means = np.minimum(TARGETS, 85.0)
    exact = np.array([-40.0, -20.0, 0.0, 20.0, 40.0])
    result = calibrate(TARGETS, means[:, None] + exact, WIDE, np.random.default_rng(0))
    assert result is not None and "saturates" not in result.verdict


@pytest.mark.parametrize("means", [np.full(6, 50.0), 100.0 - TARGETS, 50.0 + 0.05 * TARGETS])
def test_an_agent_that_does_the_same_or_the_reverse_ignores_the_return(means: np.ndarray) -> None:
    result = calibrated(means, noise=5.0)
    low, high = result.slope.ci95
    assert result.verdict == f"ignores the return: slope {low:.2f} to {high:.2f}" and high < 0.1


@pytest.mark.parametrize("gain", [0.0, 0.3, 1.0])
def test_a_slope_that_chance_may_explain_is_undecided(gain: float) -> None:
    few = calibrated(50.0 + gain * TARGETS, noise=100.0, episodes=5)
    low, high = few.slope.ci95
    assert low < 0.1 < high
    assert few.verdict == f"undecided: slope {low:.2f} to {high:.2f}; play more episodes"
    word = "steers" if gain else "ignores the return"
    assert calibrated(50.0 + gain * TARGETS, noise=20.0, episodes=500).verdict.startswith(word)


def test_returns_that_are_all_alike_cover_nothing_whatever_the_agent_does() -> None:
    expert = summarize(np.random.default_rng(3).normal(3000.0, 10.0, size=500))
    verdict = calibrated(TARGETS, data=expert).verdict
    assert verdict.startswith("no coverage in the data: 90 % of its returns lie from 298")


def test_alike_is_meant_against_the_reference_where_there_is_one() -> None:
    """Returns from 1000 to 1100 are nearly alike, unless random is 990 and expert 1110."""
    data = summarize(np.linspace(1000.0, 1100.0, 201))
    targets = np.linspace(1005.0, 1095.0, 6)
    returns = play(targets)
    alone = calibrate(targets, returns, data, np.random.default_rng(0))
    referred = calibrate(targets, returns, data, np.random.default_rng(0), size=120.0)
    assert alone is not None and alone.verdict.startswith("no coverage")
    assert referred is not None and referred.verdict == "steers"


def test_a_constant_return_correlates_with_nothing() -> None:
    result = calibrated(np.full(6, 50.0), noise=0.0)
    assert result.scores["pearson"] is None and result.scores["spearman"] is None
    assert result.slope.value == 0.0 and result.scores["coverage"] == 0.0


@pytest.mark.parametrize("gain", [0.3, 0.7, 1.0])
def test_the_slope_s_interval_holds_the_slope(gain: float) -> None:
    result = calibrated(gain * TARGETS, noise=20.0)
    low, high = result.slope.ci95
    assert low < result.slope.value < high
    assert low < gain < high


def test_a_start_that_shifts_every_target_alike_does_not_widen_the_slope() -> None:
    """Episode i has the same seed at each target, so lucky starts move the line, not its slope."""
    luck = np.random.default_rng(4).normal(0.0, 30.0, size=20)
    result = calibrate(TARGETS, TARGETS[:, None] + luck, WIDE, np.random.default_rng(0))
    assert result is not None
    np.testing.assert_allclose(result.slope.ci95, [1.0, 1.0], atol=1e-9)


def test_one_episode_a_target_has_no_interval_and_no_verdict() -> None:
    result = calibrated(TARGETS, episodes=1)
    assert result.slope.ci95 is None and result.slope.value == pytest.approx(1.0, abs=0.05)
    assert result.verdict == "undecided: one episode a target is too few to say; play more"


def test_the_line_through_all_episodes_is_the_least_squares_line() -> None:
    returns = play(0.4 * TARGETS + 7.0, noise=30.0)
    result = calibrate(TARGETS, returns, WIDE, np.random.default_rng(0))
    assert result is not None
    by_numpy = np.polyfit(np.repeat(TARGETS, returns.shape[1]), returns.ravel(), 1)[0]
    assert result.slope.value == pytest.approx(by_numpy)


def test_monotone_counts_the_pairs_that_rise() -> None:
    means = np.array([0.0, 20.0, 15.0, 15.0, 60.0, 70.0])
    assert calibrated(means, noise=0.0).scores["monotone"] == "3/5"


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


def test_returns_that_are_not_finite_are_no_agent_s_fault_to_hide() -> None:
    returns = play(TARGETS)
    returns[2, 3] = np.nan
    result = calibrate(TARGETS, returns, WIDE, np.random.default_rng(0))
    assert result is not None and result.verdict == "returns are not finite"


def test_runs_that_agree_speak_with_one_voice_and_others_are_counted() -> None:
    saturating = [
        "steers; saturates at 50, asked for 60 and more",
        "steers; saturates at 48, asked for 60 and more",
    ]
    assert agreement(saturating, "steers; saturates at 49, asked for 60 and more") == (
        "steers; saturates at 49, asked for 60 and more (all 2 runs)"
    )
    assert agreement(["steers"] * 2, "ignores the return: slope 0.00 to 0.01") == (
        "steers (all 2 runs)"
    )
    mixed = ["steers, but is off by 6 % of the range on average", "steers", "undecided: slope"]
    assert agreement(mixed, "steers") == "runs differ: 2 steers, 1 undecided"


@pytest.mark.parametrize(
    ("earlier", "word"),
    [
        ("steerable", "steers"),
        ("steerable, roughly: off by 22 % of the range on average", "steers"),
        ("saturates at 50, asked for 60 and more", "steers"),
        ("ignores the return", "ignores the return"),
        ("one episode a target: too few to say", "undecided"),
    ],
)
def test_cards_of_earlier_releases_count_with_the_others(earlier: str, word: str) -> None:
    assert agreement([earlier, word], word) == f"{word} (all 2 runs)"


@pytest.mark.parametrize(
    ("beyond_means", "says"),
    [
        ([100.0, 101.0], "changes nothing that shows ("),
        ([130.0, 150.0], "brings 50 more ("),
        ([90.0, 60.0], "brings 40 less ("),
    ],
)
def test_asking_for_more_than_the_data_holds_is_judged(
    beyond_means: list[float], says: str
) -> None:
    targets = np.array([150.0, 0.0, 100.0, 125.0])
    means = np.array([beyond_means[1], 0.0, 100.0, beyond_means[0]])
    ood = targets > 100.0
    luck = np.array([-9.0, -4.0, -1.0, 1.0, 4.0, 9.0])
    noise = np.array([2.0, -2.0, 2.0, -2.0, 2.0, -2.0])
    returns = means[:, None] + luck + (targets == 150.0)[:, None] * noise
    result = beyond(targets, returns, ood, np.random.default_rng(0))
    assert result is not None and (result.target, result.against) == (150.0, 100.0)
    assert f"asking for 150 instead of 100 {says}" in result.verdict
    negative = beyond(targets - 900.0, returns - 900.0, ood, np.random.default_rng(0))
    assert negative is not None and negative.against == -800.0
    assert negative.gain == pytest.approx(result.gain)
    low, high = result.gain_ci95
    # The luck of the starts is shared, so that only the noise of 2 is left.
    assert low < result.gain < high and high - low < 8.0


def test_without_targets_on_both_sides_nothing_is_said_about_beyond() -> None:
    returns, rng = play(TARGETS), np.random.default_rng(0)
    assert beyond(TARGETS, returns, np.zeros(6, bool), rng) is None
    assert beyond(TARGETS, returns, np.ones(6, bool), rng) is None
    assert beyond(TARGETS, returns, TARGETS < 10.0, rng) is None  # only below the data
    single = beyond(TARGETS, returns[:, :1], TARGETS > 90.0, rng)
    assert single is not None and "too few to say" in single.verdict


def test_errors_are_shares_of_the_targets_span() -> None:
    assert calibrated(TARGETS + 10.0, noise=0.0).mae_over_range.value == pytest.approx(0.1)


def test_a_model_that_expects_too_much_of_itself_is_told_so() -> None:
    rng = np.random.default_rng(0)
    chosen, came = rng.normal(9.0, 0.5, 200), rng.normal(1.0, 2.0, 200)
    lucky = expected(chosen, came)
    over = chosen - came
    error = over.std(ddof=1) / np.sqrt(200)
    assert lucky.difference == pytest.approx(over.mean())
    assert lucky.standard_error == pytest.approx(error)
    assert f"{over.mean() / error:.1f} standard errors less: luck in the data?" in lucky.verdict
    assert lucky.chosen_mean == pytest.approx(chosen.mean())
    for honest in (chosen + rng.normal(0.0, 2.0, 200), chosen + 3.0):  # as much, and more
        assert "what it expects of itself holds" in expected(chosen, honest).verdict
    single = expected(chosen[:1], came[:1])
    assert single.standard_error is None and "too few to say" in single.verdict


@pytest.mark.parametrize(("errors", "warns"), [(1.5, False), (2.5, True)])
def test_the_warning_begins_at_two_standard_errors(errors: float, warns: bool) -> None:
    spread = np.tile([-1.0, 1.0], 50)
    error = spread.std(ddof=1) / 10
    assert ("luck" in expected(spread + errors * error, np.zeros(100)).verdict) == warns
