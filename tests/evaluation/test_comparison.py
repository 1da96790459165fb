"""Does a comparison show the difference that was planted, and no other?"""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
from cards import make_card, make_runs, with_row
from rich.console import Console

from dt.acting.options import ActingOptions
from dt.evaluation.aggregate import aggregate_cards
from dt.evaluation.card import Card
from dt.evaluation.comparison import TargetChange, compare_cards, read_card
from dt.evaluation.parts import Interval
from dt.model.heads import ReturnChoice
from dt.report.comparison_table import comparison_sheets, print_comparison
from dt.report.write import write_comparison

NAMES = ("old", "new")


def with_noise(card: Card, size: float, seed: int) -> Card:
    rng = np.random.default_rng(seed)
    for place, row in enumerate(card.targets):
        returns = np.array(row.episode_returns)
        noisy = returns + rng.normal(0.0, size, len(returns))
        card = with_row(card, place, episode_returns=tuple(noisy.tolist()))
    return card


def interval(row: TargetChange) -> Interval:
    ends = row.change.difference.ci95
    assert ends is not None
    return ends


def test_the_same_seeds_are_compared_episode_by_episode() -> None:
    """The starts' luck of +-0.5 is in both cards and none of it in their difference."""
    a, b = make_card(), with_noise(make_card(offset=0.2), 0.01, seed=1)
    paired = compare_cards(a, b, NAMES)
    assert paired.paired and paired.unit == "episodes"
    apart = compare_cards(a, dataclasses.replace(b, seed=1), NAMES)
    assert not apart.paired
    for near, far in zip(paired.targets, apart.targets, strict=True):
        assert (
            near.change.difference.value
            == far.change.difference.value
            == pytest.approx(0.2, abs=0.02)
        )
        low, high = interval(near)
        assert 0.1 < low < high < 0.3
        assert interval(far)[0] < -0.3 and interval(far)[1] > 0.7
    assert not compare_cards(make_card(episodes=3), b, NAMES).paired


def test_a_card_against_itself_shows_nothing() -> None:
    card = make_card()
    comparison = compare_cards(card, card, NAMES)
    for change in [*(row.change for row in comparison.targets), comparison.overall]:
        assert change.difference.value == 0.0
        assert change.higher.value == change.closer.value == 0.5
    assert comparison.slope is not None and comparison.slope.difference.value == 0.0
    assert "no difference that shows" in comparison_sheets(comparison)[1].verdict


def test_more_return_is_not_nearer_to_the_target() -> None:
    """B overshoots everywhere: every pair of draws is won, and the agent is the worse one."""
    comparison = compare_cards(make_card(), make_card(offset=3.0), NAMES)
    assert comparison.overall.higher.value == 1.0
    assert comparison.overall.closer.value == 0.0
    sheet = comparison_sheets(comparison)[1]
    assert sheet.verdict == "A comes nearer to its targets in 100 % of pairs of draws"


def test_the_slopes_and_the_mean_over_targets_are_compared() -> None:
    comparison = compare_cards(make_card(gain=0.5), make_card(gain=0.75), NAMES)
    slope = comparison.slope
    assert slope is not None
    assert (slope.a, slope.b, slope.difference.value) == pytest.approx((0.5, 0.75, 0.25))
    assert slope.difference.ci95 == pytest.approx([0.25, 0.25])
    assert comparison.overall.difference.value == pytest.approx(0.25 * 5.0)


def test_only_targets_that_both_asked_for_are_compared_and_ood_ones_apart() -> None:
    a = make_card(targets=(2.0, 5.0, 14.0))
    b = make_card(targets=(14.0, 5.0, 8.0), offset=1.0)
    comparison = compare_cards(a, b, NAMES)
    assert [(row.target, row.ood) for row in comparison.targets] == [
        (5.0, False),
        (14.0, True),
    ]
    assert comparison.num_targets == 1 and comparison.slope is None
    with pytest.raises(ValueError, match="the cards share no target"):
        compare_cards(make_card(targets=(2.0, 3.0)), make_card(targets=(5.0,)), NAMES)


def test_aggregates_are_compared_run_by_run() -> None:
    a = aggregate_cards(*make_runs(0.0, 0.1, 0.2, 0.1))
    b = aggregate_cards(*make_runs(1.0, 1.1, 1.2))
    comparison = compare_cards(a, b, NAMES)
    assert comparison.unit == "runs" and not comparison.paired
    row = comparison.targets[0]
    assert row.change.difference.value == pytest.approx(1.0)
    assert interval(row)[0] > 0.6 and row.change.higher.value == 1.0
    with pytest.raises(ValueError, match="new aggregates runs, old is a single one's"):
        compare_cards(make_card(), b, NAMES)
    with pytest.raises(ValueError, match="old aggregates runs, new is a single one's"):
        compare_cards(a, make_card(), NAMES)


def test_two_environments_do_not_compare() -> None:
    with pytest.raises(ValueError, match="returns of two environments do not compare"):
        compare_cards(make_card(), make_card(env_id="Other-v0"), NAMES)
    with pytest.raises(ValueError, match="returns of two environments do not compare"):
        compare_cards(make_card(), make_card(env_kwargs={"max_episode_steps": 9}), NAMES)


def test_a_comparison_is_a_table_strict_json_and_markdown(tmp_path: Path) -> None:
    comparison = compare_cards(make_card(gain=0.5), make_card(null=True), NAMES)
    written = write_comparison(comparison, tmp_path)
    assert json.loads(written[0].read_text()) == comparison.to_json()
    json.dumps(comparison.to_json(), allow_nan=False)
    text = io.StringIO()
    print_comparison(comparison, Console(file=text, width=160))
    for shown in (text.getvalue(), written[1].read_text()):
        assert "A: old, update 1234 (last)" in shown
        assert "B: new, update 1234 (last), baseline null" in shown
        assert "paired: both played the same seeds" in shown
        assert "slope 0.500 and 1.000: B - A +0.500" in shown
        assert "+2.50" in shown and "P(B > A)" in shown


def test_a_comparison_fits_80_columns_whatever_returns_are_like(tmp_path: Path) -> None:
    targets = (-20000.0, 5000.0, 123456.0)
    cards = [make_card(gain=gain, targets=targets) for gain in (0.5, -1.0)]
    comparison = compare_cards(*cards, NAMES)
    text = io.StringIO()
    print_comparison(comparison, Console(file=text, width=80))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line for line in lines if line.startswith("│")]
    assert len(rows) == 2 * 4  # a target a line, none folded
    assert "-185184.0" in text.getvalue()
    tables = write_comparison(comparison, tmp_path)[1].read_text()
    assert tables.count("| all |") == 2


def test_single_episodes_have_no_interval_and_no_verdict() -> None:
    comparison = compare_cards(make_card(episodes=1), make_card(episodes=1, offset=1.0), NAMES)
    json.dumps(comparison.to_json(), allow_nan=False)
    assert comparison.targets[0].change.difference.ci95 is None
    assert "too few to say" in comparison_sheets(comparison)[1].verdict


def test_a_card_is_read_from_its_file_or_its_run(tmp_path: Path) -> None:
    card = make_card()
    (tmp_path / "card.json").write_text(json.dumps(card.to_json()))
    assert read_card(tmp_path) == read_card(tmp_path / "card.json") == card


def test_an_aggregate_s_folder_of_an_older_version_is_read(tmp_path: Path) -> None:
    card = aggregate_cards(*make_runs(0.0, 0.1))
    (tmp_path / "aggregate-card.json").write_text(json.dumps(card.to_json()))
    assert read_card(tmp_path) == card


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such card; make one with dt evaluate"),
        ("{", "is no JSON"),
        ("[1]", "is no card of this version: it has no env_id"),
        ('{"env_id": "A-v0"}', "is no card of this version: it has no env_kwargs"),
    ],
)
def test_a_file_that_is_no_card_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "card.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_card(file)
    assert str(file) in str(caught.value)


def test_models_that_chose_their_returns_are_compared_by_what_came() -> None:
    expert = ReturnChoice(10.0)
    a = make_card(targets=(9.8,), gain=0.0, offset=0.3, expert=expert)
    b = make_card(targets=(7.0,), gain=0.0, offset=0.9, expert=expert)
    comparison = compare_cards(a, b, NAMES)
    assert comparison.overall.difference.value == pytest.approx(0.6)
    with pytest.raises(ValueError, match="share no target"):
        compare_cards(dataclasses.replace(a, acting=ActingOptions()), b, NAMES)


def test_a_model_that_takes_no_return_stands_beside_all_that_the_other_was_asked_for() -> None:
    asked = make_card()
    alike = make_card(targets=(9.0,), gain=0.0, offset=5.0, layout="observation-action")
    for a, b, sign in ((asked, alike, 1.0), (alike, asked, -1.0)):
        comparison = compare_cards(a, b, NAMES)
        assert [row.target for row in comparison.targets] == [2.0, 5.0, 8.0]
        differences = [sign * row.change.difference.value for row in comparison.targets]
        assert differences == pytest.approx([3.0, 0.0, -3.0])
    assert len(compare_cards(alike, alike, NAMES).targets) == 1
