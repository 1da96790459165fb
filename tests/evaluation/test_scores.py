"""Is a new score one function and one entry, that shows everywhere a score shows?"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from cards import make_card, make_runs, shown

from dt.data.summary import DatasetSummary
from dt.evaluation.aggregate import aggregate_cards
from dt.evaluation.card import Card
from dt.evaluation.intervals import interquartile_mean
from dt.evaluation.parts import Estimate, ScoreValue
from dt.evaluation.scores import SCORES, Score, interquartile_over_runs
from dt.report.write import write_card


def regret(
    asked: np.ndarray, returns: np.ndarray, data: DatasetSummary, rng: np.random.Generator
) -> Estimate:
    """The most that any target missed, with an interval that draws as it likes."""
    misses = asked - returns.mean(axis=1)
    low, high = np.quantile(rng.choice(misses, size=99), [0.0, 1.0])
    return Estimate(float(misses.max()) / data.percentile(100), (float(low), float(high)))


@pytest.fixture
def with_regret(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a third party adds a score."""
    score = Score(regret, label="regret", form=".1f", scale=100.0, unit=" %")
    monkeypatch.setitem(SCORES, "regret", score)


def numbers(card: Card, without: str) -> dict[str, object]:
    values = card.to_json()
    for key in (without, f"{without}_ci95"):
        values["calibration"].pop(key, None)
    return values


@pytest.mark.usefixtures("with_regret")
def test_a_registered_score_is_on_the_card_in_its_file_and_in_its_table(tmp_path: Path) -> None:
    card = make_card(gain=0.5)  # 8 was asked, 4 came; the data's highest return is 10
    assert "monotone 2/2, regret 40.0 % (" in shown(card)
    written = write_card(card, tmp_path)
    kept = json.loads(written[0].read_text())["calibration"]
    assert kept["regret"] == pytest.approx(0.4) and len(kept["regret_ci95"]) == 2
    assert list(kept)[-3:] == ["regret", "regret_ci95", "verdict"]
    assert "monotone 2/2, regret 40.0 % (" in written[1].read_text()


@pytest.mark.usefixtures("with_regret")
def test_a_registered_score_is_summed_up_over_runs() -> None:
    card = aggregate_cards(*make_runs(0.0, -1.0, -2.0, -3.0))
    assert card.calibration is not None
    value = card.calibration.scores["regret"]
    assert isinstance(value, Estimate) and value.ci95 is not None
    assert value.value == pytest.approx(interquartile_mean(np.array([0.0, 0.1, 0.2, 0.3])))
    assert value.ci95[0] < value.value < value.ci95[1]
    assert "regret 15.0 % (" in shown(card)


def test_a_score_more_changes_no_other_number(request: pytest.FixtureRequest) -> None:
    runs, names = make_runs(0.0, 0.5, -0.7, targets=(2.0, 8.0, 14.0))
    before = aggregate_cards(runs, names)
    request.getfixturevalue("with_regret")
    more, _ = make_runs(0.0, 0.5, -0.7, targets=(2.0, 8.0, 14.0))
    assert runs[1] != more[1] and numbers(runs[1], "regret") == numbers(more[1], "regret")
    assert before.to_json() == numbers(aggregate_cards(more, names), "regret")
    assert aggregate_cards(runs, names).calibration.scores["regret"] is None  # made without it


def test_a_score_without_a_label_is_in_the_file_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORES, "regret", dataclasses.replace(Score(regret), label=""))
    card = make_card(gain=0.5)
    assert "regret" not in shown(card) and "regret" in card.to_json()["calibration"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["3/3", "3/3"], "3/3"),
        (["3/3", "2/3"], None),
        ([1.0, None], None),
        ([1.0, "high"], None),
        ([2.0, Estimate(4.0)], 3.0),
    ],
)
def test_words_are_kept_where_all_runs_agree(
    values: list[ScoreValue], expected: str | float | None
) -> None:
    summed = interquartile_over_runs(values, np.random.default_rng(0))
    assert (summed.value if isinstance(summed, Estimate) else summed) == expected
