"""Do several runs add up to what they showed, and do runs that differ stay apart?"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from cards import make_card, make_runs, shown, with_row

from dt.data import Reference
from dt.evaluation.aggregate import aggregate_cards, check_alike
from dt.evaluation.intervals import interquartile_mean
from dt.model.heads import ReturnChoice
from dt.report.plots import plot_calibration
from dt.report.write import write_evaluation
from dt.spec.spec import PolicySpec


def test_a_target_s_number_is_the_interquartile_mean_of_the_runs_means() -> None:
    offsets = np.array([0.0, 0.1, 0.2, 0.3, -4.0])  # one run that failed
    card = aggregate_cards(*make_runs(*offsets))
    for row, target in zip(card.targets, (2.0, 5.0, 8.0), strict=True):
        assert row.target == target
        assert row.return_iqm == pytest.approx(target + interquartile_mean(offsets))
        assert row.return_mean == pytest.approx(target + offsets.mean())
        assert row.return_std == pytest.approx(offsets.std(ddof=1))
        assert row.run_means == pytest.approx(target + offsets)
        assert row.normalized_score == pytest.approx(10 * row.return_iqm)
        low, high = row.return_ci95
        assert low < row.return_iqm < high
    assert card.wall_seconds == 5 * 1.5 and card.env_steps_per_second == 96.0


def test_models_that_choose_their_returns_are_held_to_all_they_chose() -> None:
    expert = ReturnChoice(10.0)
    cards = [
        make_card(targets=(chosen,), gain=0.0, offset=0.3, seed=seed, expert=expert)
        for seed, chosen in enumerate((9.8, 9.0, 8.0))
    ]
    card = aggregate_cards(cards, ["a", "b", "c"])
    assert card.targets[0].target == pytest.approx(26.8 / 3)
    assert card.expectation.difference == pytest.approx(26.8 / 3 - 0.3)
    assert "standard errors less: luck" in card.verdict


def test_the_calibration_is_that_of_the_runs_not_of_their_mean() -> None:
    """One run is above every target and one as far below: together they would look perfect."""
    card = aggregate_cards(*make_runs(-0.6, 0.6, -0.6, 0.6))
    calibration = card.calibration
    assert calibration.mae_over_range.value == pytest.approx(0.1)
    assert calibration.mae_over_range.ci95 == pytest.approx([0.1, 0.1])
    assert calibration.slope.value == pytest.approx(1.0)
    assert calibration.slope.ci95 == pytest.approx([1.0, 1.0])
    assert calibration.scores["monotone"] == "8/8"


def test_the_worst_target_is_part_of_every_run_s_error() -> None:
    """The middle half is that of the runs: a top that no run reaches is not cut away."""
    cards, names = make_runs(0.0, 0.0, 0.0, 0.0)
    short = [with_row(card, 2, return_mean=card.targets[2].return_mean - 3.0) for card in cards]
    calibration = aggregate_cards(short, names).calibration
    assert calibration is not None and calibration.mae_over_range.value == pytest.approx(
        3.0 / 6.0 / 3
    )


def test_runs_that_learned_different_things_are_told_apart() -> None:
    cards, names = make_runs(0.0, 0.0)
    flat = make_card(gain=0.0, offset=5.0, seed=2)
    card = aggregate_cards([*cards, flat], [*names, "flat"])
    assert card.verdict == "runs differ: 2 steers, 1 ignores the return"
    assert aggregate_cards(cards, names).verdict == "steers (all 2 runs)"
    words = [run.verdict.partition(":")[0] for run in card.runs]
    assert words == ["steers"] * 2 + ["ignores the return"]


def test_targets_beyond_the_data_are_marked_and_judged_apart() -> None:
    card = aggregate_cards(*make_runs(0.0, 0.1, 0.2, targets=(2.0, 8.0, 14.0)))
    assert [row.ood for row in card.targets] == [False, False, True]
    assert card.calibration.scores["monotone"] == "3/3"
    assert "asking for 14 instead of 8 brings 6 more" in card.beyond.verdict


def test_the_best_checkpoints_are_labelled_so_and_a_mixture_as_chosen() -> None:
    cards, names = make_runs(0.0, 0.1, selection="best")
    card = aggregate_cards(cards, names)
    assert card.selection == "best"
    mixed = aggregate_cards([cards[0], dataclasses.replace(cards[1], selection="last")], names)
    assert mixed.selection == "chosen"


def test_one_target_has_no_calibration() -> None:
    card = aggregate_cards(*make_runs(0.0, 0.1, targets=(5.0,)))
    assert card.calibration is None and card.verdict.startswith("one target")


def test_the_card_is_strict_json_a_table_and_a_picture_of_every_run(tmp_path: Path) -> None:
    card = aggregate_cards(*make_runs(0.0, 0.5, -0.7))
    json.dumps(card.to_json(), allow_nan=False)
    text = shown(card)
    assert "Planted-v0, 3 runs (last), 4 episodes a target" in text
    assert "IQM" in text and "std of runs" in text and "steers" in text
    assert "runs: run0 (update 1234), run1 (update 1234), run2 (update 1234)" in text
    write_evaluation(card, tmp_path, "aggregate", folder="")
    assert "seed 0, 1, 2" in (tmp_path / "aggregate.md").read_text()
    before = matplotlib.image.imread(tmp_path / "aggregate.png")
    means = list(card.targets[1].run_means)
    means[2] += 1.0
    changed = with_row(card, 1, run_means=tuple(means))
    plot_calibration(changed, tmp_path / "after.png")
    after = matplotlib.image.imread(tmp_path / "after.png")
    assert before.shape == after.shape == (768, 768, 4)
    assert (before != after).any(axis=-1).sum() > 50  # pixels


def test_runs_of_one_data_set_are_alike_whatever_their_file_s_name(tiny_spec: PolicySpec) -> None:
    moved = dataclasses.replace(tiny_spec.dataset, name="elsewhere")
    check_alike([Path("a"), Path("b")], [tiny_spec, dataclasses.replace(tiny_spec, dataset=moved)])


def test_runs_that_differ_are_refused_in_one_line(tiny_spec: PolicySpec) -> None:
    with pytest.raises(ValueError, match="a: named twice"):
        check_alike([Path("a"), Path("b/../a")], [tiny_spec] * 2)
    other_data = dataclasses.replace(tiny_spec.dataset, steps=99)
    for name, changed in {
        "data set": {"dataset": other_data},
        "model": {"model": dataclasses.replace(tiny_spec.model, width=16)},
        "environment": {"env_id": "Other-v0"},
        "reference": {"reference": Reference("Minari", 0.0, 1.0)},
    }.items():
        specs = [tiny_spec, dataclasses.replace(tiny_spec, **changed)]  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=f"b: has another {name} than a;"):
            check_alike([Path("a"), Path("b")], specs)


def test_intervals_end_where_returns_that_were_seen_end() -> None:
    """Of two runs Student's t would reach far beyond the data's returns of 1 to 10."""
    card = aggregate_cards(*make_runs(0.0, 1.0))
    assert all(row.return_ci95[0] >= 1.0 and row.return_ci95[1] <= 10.0 for row in card.targets)
    assert any(row.return_ci95[1] == 10.0 for row in card.targets)


def test_one_error_is_said_of_several_runs() -> None:
    """The verdict's is that of the runs, not of their mean, whose misses make up for each other."""
    card = aggregate_cards(*make_runs(-0.6, 0.6, 0.9, -0.9, gain=0.7))
    assert card.calibration is not None
    shown_error = f"off by {100 * card.calibration.mae_over_range.value:.0f} % of the range"
    assert shown_error in card.verdict


def test_models_that_take_no_return_have_an_aggregate_that_says_so() -> None:
    plain = {"targets": (9.0,), "gain": 0.0, "layout": "observation-action"}
    card = aggregate_cards(*make_runs(5.0, 6.0, **plain))
    assert card.calibration is None and card.verdict.startswith("this model takes no return")
    assert "none" in shown(card) and "4 episodes a target" not in shown(card)
