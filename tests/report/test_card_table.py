"""Does the table of a card show its numbers, and what they mean?"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from cards import make_card, shown

from dt.acting.options import ActingOptions
from dt.evaluation.of_run import request_map_of


def test_a_card_s_numbers_are_those_of_its_episodes() -> None:
    row = make_card().targets[1]
    assert row.target == 5.0 and row.return_mean == 5.0
    assert row.episode_returns == (4.5, 4.75, 5.25, 5.5)
    assert row.return_std == pytest.approx(np.std([4.5, 4.75, 5.25, 5.5], ddof=1))
    assert row.normalized_score == 50.0
    assert row.length_mean == 12.0
    low, high = row.return_ci95
    assert 3.5 < low < 4.5 < 5.5 < high < 6.5


def test_the_table_shows_what_was_asked_and_what_came() -> None:
    card = make_card(gain=0.5)
    text = shown(card)
    for row in card.targets:
        low, high = row.return_ci95
        line = next(line for line in text.splitlines() if f"{low:.2f} to {high:.2f}" in line)
        assert f"{row.target:.2f}" in line and f"{row.return_mean:.2f}" in line
        assert f"{row.normalized_score:.1f}" in line
    assert "Planted-v0, update 1234 (last), 4 episodes a target" in text
    assert "normalised: 0 is 0 and 100 is 10, planted scores" in text
    assert "slope 0.500" in text and card.verdict in text
    assert "1.5 s, 96 environment steps/s" in text


def test_a_card_without_reference_or_calibration_is_shown_without() -> None:
    text = shown(make_card(targets=(5.0,), reference=None, null=True))
    assert "normalised" not in text and "slope" not in text
    assert "baseline null" in text


def test_targets_beyond_the_data_are_marked_and_count_for_nothing(tmp_path: Path) -> None:
    inside = make_card()
    card = make_card(targets=(2.0, 5.0, 8.0, 14.0), clip=False)
    assert [row.ood for row in card.targets] == [False, False, False, True]
    for name in ("slope", "mae_over_range"):
        value = inside.calibration.estimate(name).value
        assert card.calibration.estimate(name).value == pytest.approx(value)
    for name in ("pearson", "monotone"):
        assert card.calibration.scores[name] == pytest.approx(inside.calibration.scores[name])
    text = shown(card)
    assert "14.0*" in text and "8.0*" not in text
    assert "* beyond the data's returns, shown to the model as they are" in text
    assert "asking for 14 instead of 8 brings 6 more" in text
    assert "shown as its nearest" in shown(dataclasses.replace(card, acting=ActingOptions()))
    only = make_card(targets=(14.0, 15.0))
    assert only.calibration is None and only.beyond is None


def test_a_calibrated_card_shows_its_requests_and_what_is_out_of_reach() -> None:
    request_map = request_map_of(make_card(gain=0.5, targets=(2.0, 8.0)))
    card = make_card(gain=1.0, targets=(2.0, 5.0), request_map=request_map)
    assert make_card(targets=(2.0, 14.0), request_map=request_map).beyond is None
    assert [row.request for row in card.targets] == pytest.approx([4.0, 8.0])
    assert [row.reachable for row in card.targets] == [True, False]
    text = shown(card)
    assert "5.00!" in text and "! out of reach" in text and "request" in text
    assert "2.00!" not in text and "out of reach" not in shown(make_card())


def test_one_target_is_told_that_two_are_needed() -> None:
    assert "one target: ask for two or more" in shown(make_card(targets=(5.0,)))


def test_a_single_episode_has_no_interval_and_says_so() -> None:
    text = shown(make_card(episodes=1))
    assert "no interval" in text and "one episode a target" in text


def test_what_looks_like_markup_is_shown_as_it_is() -> None:
    text = shown(make_card(env_id="[bold]Odd[/bold]-v0", reference=None))
    assert "[bold]Odd[/bold]-v0" in text
