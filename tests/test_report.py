"""Is a score card kept as JSON that parses, drawn as a picture, and shown with its numbers?"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from gymnasium import spaces
from rich.console import Console
from rich.text import Text

from dt.config import ModelConfig
from dt.data import EpisodeDataset, Reference
from dt.evaluation import score
from dt.plots import plot_calibration
from dt.report import episode_progress, print_card, training_progress, write_card
from dt.rollout import Rollouts
from dt.spec import PolicySpec


def make_card(
    gain: float = 1.0, targets: tuple[float, ...] = (2.0, 5.0, 8.0), **changes: Any
) -> dict[str, Any]:
    """The card of four episodes a target that return `gain` times what was asked."""
    dataset = EpisodeDataset(
        name="tiny",
        observations=np.zeros((55, 2), np.float32),
        actions=np.zeros((55, 1), np.float32),
        rewards=np.ones(55, np.float32),
        terminations=np.zeros(55, bool),
        truncations=np.zeros(55, bool),
        offsets=np.cumsum([0, *range(1, 11)]),  # returns 1 to 10
        observation_space=spaces.Box(-np.inf, np.inf, (2,), np.float32),
        action_space=spaces.Box(-1.0, 1.0, (1,), np.float32),
        reference=Reference("planted scores", 0.0, 10.0),
    )
    asked = np.repeat(targets, 4)
    returns = gain * asked + np.tile([-0.5, -0.25, 0.25, 0.5], len(targets))
    rollouts = Rollouts(asked, returns, np.full(len(asked), 12))
    spec = PolicySpec.of(dataset, ModelConfig())
    return {
        "env_id": "Planted-v0",
        "checkpoint_step": 1234,
        "selection": "last",
        "baseline": None,
        "layout": spec.model.layout,
        "episodes": 4,
        "seed": 0,
        "wall_seconds": 1.5,
        "env_steps_per_second": 96.0,
        **score(rollouts, list(targets), spec, seed=0),
        **changes,
    }


def shown(card: dict[str, Any]) -> str:
    text = io.StringIO()
    print_card(card, Console(file=text, width=160))
    return text.getvalue()


def test_a_card_is_kept_as_json_that_reads_back_the_same(tmp_path: Path) -> None:
    card = make_card()
    table, picture = write_card(card, tmp_path)
    assert table == tmp_path / "card.json" and picture == tmp_path / "calibration.png"
    assert json.loads(table.read_text()) == card


def test_a_card_is_strict_json_even_where_nothing_varies() -> None:
    card = make_card(gain=0.0, targets=(5.0,))
    json.dumps(card, allow_nan=False)
    flat = make_card(gain=0.0)
    json.dumps(flat, allow_nan=False)
    assert flat["calibration"]["slope"] == 0.0


def test_a_name_stands_before_both_files(tmp_path: Path) -> None:
    write_card(make_card(), tmp_path, "best")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best-calibration.png", "best-card.json"]


def test_a_card_s_numbers_are_those_of_its_episodes() -> None:
    row = make_card()["targets"][1]
    assert row["target"] == 5.0 and row["return_mean"] == 5.0
    assert row["episode_returns"] == [4.5, 4.75, 5.25, 5.5]
    assert row["return_std"] == pytest.approx(np.std([4.5, 4.75, 5.25, 5.5], ddof=1))
    assert row["normalized_score"] == 50.0
    assert row["length_mean"] == 12.0
    low, high = row["return_ci95"]
    assert 4.0 < low < 5.0 < high < 6.0


@pytest.mark.parametrize("targets", [(2.0, 5.0, 8.0), (5.0,)])
def test_the_picture_is_drawn_at_its_size(tmp_path: Path, targets: tuple[float, ...]) -> None:
    plot_calibration(make_card(targets=targets), tmp_path / "card.png")
    pixels = matplotlib.image.imread(tmp_path / "card.png")
    assert pixels.shape == (768, 768, 4)
    assert 0.01 < (pixels[..., :3] < 0.9).any(axis=-1).mean() < 0.5  # lines on mostly white


@pytest.mark.parametrize(
    ("field", "value"),
    [("return_mean", 6.0), ("return_ci95", [3.0, 7.0]), ("episode_returns", [3.0, 4.0, 6.0, 7.0])],
)
def test_the_picture_shows_each_number_of_a_target(
    tmp_path: Path, field: str, value: float | list[float]
) -> None:
    card = make_card()
    plot_calibration(card, tmp_path / "before.png")
    card["targets"][1][field] = value
    plot_calibration(card, tmp_path / "after.png")
    before, after = (matplotlib.image.imread(tmp_path / f"{n}.png") for n in ("before", "after"))
    assert (before != after).any(axis=-1).sum() > 50  # pixels


def test_the_table_shows_what_was_asked_and_what_came() -> None:
    card = make_card(gain=0.5)
    text = shown(card)
    for row in card["targets"]:
        low, high = row["return_ci95"]
        line = next(line for line in text.splitlines() if f"{low:.1f} to {high:.1f}" in line)
        assert f"{row['target']:.1f}" in line and f"{row['return_mean']:.1f}" in line
        assert f"{row['normalized_score']:.1f}" in line
    assert "Planted-v0, update 1234 (last), 4 episodes a target" in text
    assert "planted scores" in text
    assert "slope 0.500" in text and card["calibration"]["verdict"] in text
    assert "1.5 s, 96 environment steps/s" in text


def test_a_card_without_reference_or_calibration_is_shown_without() -> None:
    text = shown(make_card(targets=(5.0,), reference=None, baseline="null"))
    assert "normalised" not in text and "slope" not in text
    assert "baseline null" in text


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
