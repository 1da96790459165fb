"""Are the returns to ask for those that the words name?"""

from __future__ import annotations

import numpy as np
import pytest
from planted import WIDE, summarize

from dt.acting.targets import parse_targets, targets_beyond


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


def test_targets_beyond_the_data_are_above_all_of_its_returns() -> None:
    beyond = targets_beyond(1.5, WIDE)  # p5 is 10, p95 190, the highest 200
    assert beyond == pytest.approx([200 + 80 / 3, 200 + 160 / 3, 280.0])


@pytest.mark.parametrize("factor", [1.0, 0.5, -2.0, float("nan"), float("inf")])
def test_a_factor_that_leads_nowhere_is_told_which_would(factor: float) -> None:
    with pytest.raises(ValueError, match="data holds returns up to 200; give a number above 1.056"):
        targets_beyond(factor, WIDE)
    targets_beyond(1.057, WIDE)


def test_data_without_spread_has_no_beyond_to_scale() -> None:
    with pytest.raises(ValueError, match="are all 7; name the returns to ask for"):
        targets_beyond(1.5, summarize(np.full(9, 7.0)))


@pytest.mark.parametrize("count", ["10001", "1000000000", "9" * 5000])
def test_a_span_of_more_targets_than_can_be_played_is_refused(count: str) -> None:
    with pytest.raises(ValueError, match="asks for more than 10000 returns; give fewer"):
        parse_targets([f"p5:p95:{count}"], WIDE)
    assert len(parse_targets(["p5:p95:10000"], WIDE)) == 10_000
