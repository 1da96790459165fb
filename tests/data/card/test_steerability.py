"""Does the verdict tell a dial from a constant, a gap, a few levels and a length?"""

from __future__ import annotations

import json

import numpy as np
import pytest

from dt.data.card.steerability import decimals, steerability

THIN = np.concatenate([np.linspace(10, 40, 60), [47, 54, 61, 68], np.linspace(75, 100, 60)])
ALIKE = np.full(100, 50)  # lengths that explain nothing


def verdict(returns: np.ndarray, lengths: np.ndarray | None = None, scale: float = 1.0) -> str:
    lengths = np.full(len(returns), 50) if lengths is None else lengths
    found = steerability(scale * np.asarray(returns, np.float64), lengths)
    json.dumps(found, allow_nan=False)
    assert found["line"].startswith(f"{found['verdict']}: ") and "\n" not in found["line"]
    return found["verdict"]


@pytest.mark.parametrize("scale", [1e-4, 1.0, -1.0, 1e6])
@pytest.mark.parametrize(
    ("expected", "returns"),
    [
        ("steerable", np.linspace(100, 200, 100)),
        ("hardly", np.linspace(100, 105, 100)),
        ("hardly", np.full(100, 7.0)),
        ("hardly", np.zeros(100)),
        ("hardly", np.repeat([3.0, 90.0], [97, 3])),  # a few episodes are no spread
        ("levels", np.repeat([0.0, 1.0], 50)),
        ("levels", np.repeat([-1.0, 0.0, 1.0], [30, 40, 30])),
        ("gaps", np.concatenate([np.linspace(10, 40, 50), np.linspace(70, 100, 50)])),
        ("thin", THIN),
        ("too few", np.linspace(100, 200, 19)),
        ("too few", np.zeros(0)),
    ],
)
def test_a_spread_gets_its_verdict_in_any_unit(
    expected: str, returns: np.ndarray, scale: float
) -> None:
    assert verdict(returns, scale=scale) == expected


def test_the_gap_that_is_named_is_the_empty_one() -> None:
    found = steerability(np.concatenate([np.linspace(0, 40, 50), np.linspace(70, 100, 50)]), ALIKE)
    assert found["largest_gap"]["from"] == 40.0 and found["largest_gap"]["to"] == 70.0
    assert found["largest_gap"]["share"] == pytest.approx(30 / (found["p95"] - found["p5"]))
    assert "no episode returns 40.0 to 70.0" in found["line"]


def test_a_gap_among_the_outermost_returns_does_not_count() -> None:
    returns = np.concatenate([[-1000.0], np.linspace(0, 100, 98), [5000.0]])
    assert verdict(returns) == "steerable"


def test_episodes_near_a_target_are_counted() -> None:
    found = steerability(np.linspace(0, 100, 1001), np.full(1001, 9))
    assert [row["target"] for row in found["targets"]] == pytest.approx(np.linspace(5, 95, 7))
    # Within 7 % of the span of 90: 6.3 to either side; at the ends 5 to 11.3 and its mirror image.
    for row in found["targets"][1:-1]:
        assert row["episodes_near"] == pytest.approx(126, abs=1)
    assert found["targets"][0]["episodes_near"] == pytest.approx(113, abs=1)


def test_thin_targets_are_counted_and_the_thinnest_is_named() -> None:
    found = steerability(THIN, np.full(len(THIN), 5))
    thin = [row for row in found["targets"] if row["episodes_near"] < 5]
    assert 0 < len(thin) < 7 and f"{len(thin)} of 7 targets" in found["line"]
    worst = min(thin, key=lambda row: row["episodes_near"])
    assert f"{worst['target']:.1f} only {worst['episodes_near']}" in found["line"]


@pytest.mark.parametrize(
    ("slope", "noise", "expected"),
    [(1, 0, "length"), (-1, 0, "length"), (2, 0.5, "length"), (1, 30, "steerable")],
)
def test_a_return_that_is_its_length_is_told(slope: float, noise: float, expected: str) -> None:
    lengths = np.arange(10, 210)
    returns = slope * lengths + noise * np.random.default_rng(0).normal(size=200)
    assert verdict(returns, lengths) == expected


def test_length_is_mentioned_where_it_explains_most_but_not_all() -> None:
    lengths = np.arange(10, 210)
    returns = lengths + 30 * np.random.default_rng(0).normal(size=200)
    found = steerability(returns, lengths)
    assert 0.5 < found["length_r2"] < 0.99
    assert f"length explains {100 * found['length_r2']:.0f} % of it" in found["line"]


def test_equally_long_episodes_leave_the_length_out() -> None:
    assert steerability(np.linspace(0, 1, 100), ALIKE)["length_r2"] is None


def test_a_reference_is_what_the_spread_is_held_against() -> None:
    returns = np.linspace(1000, 1050, 100)  # 4.5 % of its size, 45 % of the reference's range
    assert steerability(returns, ALIKE)["verdict"] == "hardly"
    assert steerability(returns, ALIKE, reference_range=100.0)["verdict"] == "steerable"
    far = steerability(returns, ALIKE, reference_range=1000.0)
    assert far["verdict"] == "hardly" and "4.5 % of the reference's range" in far["line"]


def test_rounding_in_a_sum_makes_no_new_level() -> None:
    tenths = np.array([sum([0.1] * 10), 1.0, sum([0.1] * 3), 0.3] * 10)
    assert steerability(tenths, np.full(40, 5))["different_returns"] == 2


@pytest.mark.parametrize(
    ("span", "digits"), [(0.0, 2), (3000.0, 0), (90.0, 1), (0.5, 3), (1e-9, 6)]
)
def test_more_digits_are_shown_of_what_lies_closer(span: float, digits: int) -> None:
    assert decimals(span) == digits
