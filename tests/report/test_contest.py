"""Does a contest's table fit a terminal, and do its pictures show its numbers?"""

from __future__ import annotations

import io
import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from cards import make_card, make_runs, with_row
from matplotlib.figure import Figure
from rich.console import Console

from dt.evaluation.aggregate import aggregate_cards
from dt.evaluation.card import AnyCard
from dt.evaluation.contest import Contender, Contest, contest
from dt.report.contest_plots import plot_calibrations, plot_improvement, plot_learning
from dt.report.contest_table import print_contest, write_contest


def three(tmp_path: Path, gain: float = 1.0) -> Contest:
    log = [{"step": step, "loss": 1 / step, "updates_per_second": 12.345} for step in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, log)))
    targets = (-2000.0, 5000.0, 8123.0)
    cards: list[AnyCard] = [
        aggregate_cards(*make_runs(0.0, 0.1, 400.0, targets=targets, gain=gain)),
        aggregate_cards(*make_runs(0.3, 0.1, 0.2, targets=targets)),
        aggregate_cards(*make_runs(0.3, 0.1, targets=(9.0,), layout="observation-action")),
    ]
    names = ("dt learning-rate=0.0003", "rvs learning-rate=0.0003", "top10")
    return contest([Contender(n, c, (tmp_path,)) for n, c in zip(names, cards, strict=True)])


def test_the_table_fits_80_columns(tmp_path: Path) -> None:
    text = io.StringIO()
    print_contest(three(tmp_path), Console(file=text, width=80))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "8121" in text.getvalue() or "8123" in text.getvalue()
    assert "…" not in text.getvalue()  # no number is cut off
    assert any("top10" in line and line.count(" - ") == 3 for line in lines)
    assert "12.3" in text.getvalue()


def test_a_long_name_is_folded_and_not_cut_off() -> None:
    text = io.StringIO()
    name = "runs/some-project/hopper-of-a-wide-network-17/cards/last.json"
    print_contest(contest([Contender(name, make_card())]), Console(file=text, width=80))
    table = [line for line in text.getvalue().splitlines() if line.startswith("│")]
    assert max(map(len, table)) <= 80 and len(table) > 1
    assert "".join(line.split("│")[1].strip() for line in table) == name


def test_all_files_are_written_and_none_is_another_card_s(tmp_path: Path) -> None:
    (tmp_path / "calibration.png").write_text("of a run")
    written = write_contest(three(tmp_path), tmp_path)
    assert [file.name for file in written] == [
        "compare.json",
        "compare.md",
        "compare-learning.png",
        "compare-calibration.png",
        "compare-improvement.png",
    ]
    assert all(file.stat().st_size > 500 for file in written)
    assert (tmp_path / "calibration.png").read_text() == "of a run"
    assert "over runs\n   (Agarwal" in written[1].read_text()  # one paragraph
    alone = contest([Contender("a", make_card())])  # without a log, and with nobody beside it
    assert [file.name for file in write_contest(alone, tmp_path / "new")] == [
        "compare.json",
        "compare.md",
        "compare-calibration.png",
    ]


def test_learning_curves_are_of_all_that_was_logged_more_than_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path: figures.append(self))
    for seed in (0, 1):
        evaluated = [
            {"step": step, "evaluation/return_at_top": step + seed, "evaluation/slope": 1.0}
            for step in (2, 4)
        ]
        log = [{"step": step, "loss": 100.0**-step, "holdout_loss": 1.0} for step in (1, 2, 3, 4)]
        evaluated += [{"step": 3, "evaluation/return_at_top": 9}] * seed  # it was interrupted
        evaluated.sort(key=lambda line: line["step"])
        once = [{"step": 4, "evaluation/error_over_range": 0.5, "final/return_at_top": 1.0}]
        (tmp_path / str(seed)).mkdir()
        (tmp_path / str(seed) / "metrics.jsonl").write_text(
            "\n".join(map(json.dumps, [*log, *evaluated, *once]))
        )
    runs = (tmp_path / "0", tmp_path / "1")
    both = contest([Contender(name, make_card(), runs) for name in map(str, range(10))])
    assert plot_learning(both, tmp_path / "a.png")
    (figure,) = figures
    shown = [axes for axes in figure.axes if axes.lines]
    assert [axes.get_title(loc="left") for axes in shown] == [
        "training loss",
        "loss of held-out episodes",
        "return at the highest target",
    ]
    assert shown[0].get_yscale() == shown[1].get_yscale() == "log"
    assert shown[0].get_ylim() == shown[1].get_ylim()
    mean = shown[2].lines[2]  # after the two runs of the first
    np.testing.assert_array_equal(mean.get_xydata(), [[2.0, 2.5], [4.0, 4.5]])
    looks = {(line.get_color(), line.get_linestyle()) for line in shown[0].lines}
    assert len(looks) == 10  # however many there are, each has its own
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(map(str, range(10)))


@pytest.mark.parametrize("plot", [plot_calibrations, plot_improvement, plot_learning])
def test_a_picture_shows_the_numbers(tmp_path: Path, plot: object) -> None:
    assert callable(plot)
    before = three(tmp_path)
    assert plot(before, tmp_path / "before.png")
    log = (tmp_path / "metrics.jsonl").read_text().replace('"loss": 0.5', '"loss": 0.9')
    first = before.contenders[0]
    assert not isinstance(first.card.targets[2].sample, np.ndarray)
    lower = with_row(first.card, 2, return_iqm=6000.0, run_means=(1.0, 2.0, 9999.0))
    after = contest([Contender(first.name, lower, first.run_dirs), *before.contenders[1:]])
    (tmp_path / "metrics.jsonl").write_text(log)
    assert plot(after, tmp_path / "after.png")
    pixels = [matplotlib.image.imread(tmp_path / f"{n}.png") for n in ("before", "after")]
    assert pixels[0].shape == pixels[1].shape
    assert (pixels[0] != pixels[1]).any(axis=-1).sum() > 50
