"""Do cards side by side say which brings more, and how sure that is?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cards import make_card, make_runs

from dt.evaluation.aggregate import aggregate_cards
from dt.evaluation.contest import Contender, contest, improvement


def test_improvement_is_the_share_of_pairs_that_are_won() -> None:
    rng = np.random.default_rng(0)
    found = improvement(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0]), rng)
    assert found.value == pytest.approx((1 + 0.5 + 0 + 1 + 1 + 1) / 6)
    low, high = found.ci95 or (0.0, 0.0)
    assert 0.0 <= low < found.value < high <= 1.0
    assert improvement(np.zeros(5), np.ones(5), rng).ci95 == (1.0, 1.0)
    assert improvement(np.zeros(5), np.zeros(5), rng).value == 0.5
    assert improvement(np.zeros(1), np.ones(5), rng).ci95 is None


def test_more_runs_make_the_bootstrap_s_interval_narrower() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for count in (5, 50):
        a, b = rng.normal(0.0, 1.0, count), rng.normal(0.3, 1.0, count)
        low, high = improvement(a, b, rng).ci95 or (0.0, 1.0)
        widths.append(high - low)
    assert widths[1] < 0.6 * widths[0]


def test_each_is_held_against_the_first_at_its_best_target(tmp_path: Path) -> None:
    first = aggregate_cards(*make_runs(0.0, 0.1, 0.2))
    better = aggregate_cards(*make_runs(1.0, 1.1, 1.2))
    cloned = aggregate_cards(
        *make_runs(5.0, 5.1, targets=(9.0,), gain=0.0, layout="observation-action")
    )
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 5, "loss": 2.0, "updates_per_second": 1.0}\n'
        '{"step": 10, "loss": 1.0, "updates_per_second": 30.0}\n{"step": 15, "lo'
    )
    found = contest(
        [Contender("a", first, (tmp_path,)), Contender("b", better), Contender("c", cloned)]
    )
    assert found.contenders[0].best.target == found.contenders[0].top.target == 8.0
    values = [change and change.value for change in found.improvements]
    assert values == [None, 1.0, 0.0] and found.unit == "runs"
    entries = json.loads(json.dumps(found.to_json(), allow_nan=False))["contenders"]
    assert entries[0]["updates_per_second"] == 30.0  # the first line has the compilation in it
    assert entries[1]["updates_per_second"] is None and entries[1]["best"]["target"] == 8.0
    assert entries[2]["best"]["target"] is None and entries[2]["slope"] is None
    assert found.contenders[0].curves("loss")[0].values.tolist() == [2.0, 1.0]


def test_cards_of_two_kinds_are_not_held_against_each_other() -> None:
    several = aggregate_cards(*make_runs(0.0, 0.1))
    found = contest([Contender("runs", several), Contender("one", make_card())])
    assert found.improvements == (None, None)


def test_what_does_not_compare_is_one_line() -> None:
    card = make_card()
    with pytest.raises(ValueError, match="a: named twice"):
        contest([Contender("a", card), Contender("a", card)])
    with pytest.raises(ValueError, match="returns of two environments do not compare"):
        contest([Contender("a", card), Contender("b", make_card(env_id="Other-v0"))])
    with pytest.raises(ValueError, match="nothing to compare"):
        contest([])
