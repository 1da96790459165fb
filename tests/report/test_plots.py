"""Is a card drawn at its size, and with each of its numbers?"""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pytest
from cards import make_card, make_runs, with_row

from dt.evaluation.aggregate import aggregate_cards
from dt.report.plots import calibration_title, plot_calibration


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


@pytest.mark.parametrize("gain", [0.7, 1.0])
def test_a_title_says_one_error_and_the_number_of_episodes(gain: float) -> None:
    for card in (make_card(gain=gain), aggregate_cards(*make_runs(-0.6, 0.6, 0.2, gain=gain))):
        title = calibration_title(card)
        assert title.count("%") == 1 and "4 episodes a target" in title
        assert max(map(len, title.splitlines())) <= 88  # what the picture is wide enough for


def test_what_takes_no_return_is_said_in_words(tmp_path: Path) -> None:
    """One row, whatever is asked: its mean moves the mark, and there is no line to draw."""
    card = make_card(targets=(5.0,), layout="observation-action")
    assert "4 episodes" in calibration_title(card) and "a target" not in calibration_title(card)
    plot_calibration(card, tmp_path / "before.png")
    plot_calibration(with_row(card, 0, return_mean=6.0), tmp_path / "after.png")
    before, after = (matplotlib.image.imread(tmp_path / f"{n}.png") for n in ("before", "after"))
    assert (before != after).any(axis=-1).sum() > 50  # pixels
