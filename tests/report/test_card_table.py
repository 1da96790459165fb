"""Is a score card kept as JSON that parses, drawn as a picture, and shown with its numbers?"""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from cards import make_card, shown, with_row
from rich.console import Console
from rich.text import Text

from dt.acting.options import ActingOptions
from dt.cli.progress import episode_progress, training_progress
from dt.evaluation.of_run import request_map_of
from dt.report.plots import plot_calibration
from dt.report.write import card_name, write_card


def test_a_card_is_kept_as_json_that_reads_back_the_same(tmp_path: Path) -> None:
    card = make_card()
    written = write_card(card, tmp_path)
    assert [file.name for file in written] == ["card.json", "card.md", "calibration.png"]
    assert json.loads((tmp_path / "card.json").read_text()) == card.to_json()


def test_a_card_is_strict_json_even_where_nothing_varies() -> None:
    card = make_card(gain=0.0, targets=(5.0,))
    json.dumps(card.to_json(), allow_nan=False)
    flat = make_card(gain=0.0)
    json.dumps(flat.to_json(), allow_nan=False)
    assert flat.calibration.slope.value == 0.0
    single = make_card(episodes=1)
    json.dumps(single.to_json(), allow_nan=False)
    assert single.targets[0].return_ci95 is None


def test_a_name_stands_before_all_files(tmp_path: Path) -> None:
    write_card(make_card(), tmp_path, "best")
    names = ["best-calibration.png", "best-card.json", "best-card.md"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, ""),
        ({"null": True}, "null"),
        ({"calibrated": True, "deterministic": True}, "deterministic-calibrated"),
        ({"clip": False}, "ood"),
        ({"recompute": True, "on_device": True}, "recompute-on-device"),
        ({"selection": "best"}, "update-1234"),
        ({"env_id": "module:Other-v1", "selection": "chosen"}, "module-Other-v1-update-1234"),
    ],
)
def test_only_the_headline_is_called_card(changes: dict[str, Any], name: str) -> None:
    assert card_name(make_card(**changes), "Planted-v0") == name


def test_a_card_s_numbers_are_those_of_its_episodes() -> None:
    row = make_card().targets[1]
    assert row.target == 5.0 and row.return_mean == 5.0
    assert row.episode_returns == (4.5, 4.75, 5.25, 5.5)
    assert row.return_std == pytest.approx(np.std([4.5, 4.75, 5.25, 5.5], ddof=1))
    assert row.normalized_score == 50.0
    assert row.length_mean == 12.0
    low, high = row.return_ci95
    assert 3.5 < low < 4.5 < 5.5 < high < 6.5


@pytest.mark.parametrize("episodes", [1, 4])
@pytest.mark.parametrize("targets", [(2.0, 5.0, 8.0), (5.0,), (2.0, 8.0, 14.0), (14.0,)])
def test_the_picture_is_drawn_at_its_size(
    tmp_path: Path, targets: tuple[float, ...], episodes: int
) -> None:
    card = make_card(targets=targets, episodes=episodes)
    plot_calibration(card, tmp_path / "card.png")
    pixels = matplotlib.image.imread(tmp_path / "card.png")
    assert pixels.shape == (768, 768, 4)
    assert 0.01 < (pixels[..., :3] < 0.9).any(axis=-1).mean() < 0.5  # lines on mostly white


@pytest.mark.parametrize(
    ("field", "value"),
    [("return_mean", 6.0), ("return_ci95", (3.0, 7.0)), ("episode_returns", (3.0, 4.0, 6.0, 7.0))],
)
def test_the_picture_shows_each_number_of_a_target(
    tmp_path: Path, field: str, value: float | tuple[float, ...]
) -> None:
    card = make_card()
    plot_calibration(card, tmp_path / "before.png")
    plot_calibration(with_row(card, 1, **{field: value}), tmp_path / "after.png")
    before, after = (matplotlib.image.imread(tmp_path / f"{n}.png") for n in ("before", "after"))
    assert (before != after).any(axis=-1).sum() > 50  # pixels


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


def test_markdown_is_a_table_with_the_same_numbers_and_where_they_come_from(
    tmp_path: Path,
) -> None:
    card = make_card(gain=0.5)
    text = write_card(card, tmp_path)[1].read_text()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table[0] == "| target | achieved | 95 % interval | std | length | normalised |"
    assert table[1] == "| ---: | ---: | ---: | ---: | ---: | ---: |"
    low, high = card.targets[2].return_ci95
    std = card.targets[2].return_std
    assert table[4] == f"| 8.00 | 4.00 | {low:.2f} to {high:.2f} | {std:.2f} | 12 | 40.0 |"
    assert f"**{card.verdict}**" in text
    assert "`evaluate.py planted`, commit 0123456789ab, seed 0, python 3.11, numpy 2" in text


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


def test_progress_shows_how_far_it_came() -> None:
    text = io.StringIO()
    console = Console(file=text, width=160, force_terminal=True)
    with episode_progress(console, total=8) as on_step:
        on_step(8, 96)
    with training_progress(console, total=40) as on_round:
        on_round(40, {"loss": 0.125, "updates_per_second": 10.0})
    plain = Text.from_ansi(text.getvalue()).plain  # without colours
    assert "8/8 episodes, 96 steps" in plain
    assert "40/40 loss 0.1250, 10.0 updates/s" in plain
