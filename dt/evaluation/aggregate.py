"""What do several runs show together? Their score cards in one, with intervals over runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dt.acting.options import CARD_KEYS
from dt.data.reference import Reference
from dt.evaluation.evaluate import Card
from dt.evaluation.intervals import correlation, interquartile_mean, ranks, runs_interval, slope
from dt.evaluation.verdict import ONE_TARGET, agreement, beyond, describe, expected
from dt.spec.spec import PolicySpec

# What the runs of one aggregate have in common; a card of it says so once.
SHARED = (
    "env_id",
    "env_kwargs",
    *CARD_KEYS,
    "on_device",
    "layout",
    "episodes",
    "reference",
    "dataset",
    "versions",
    "command",
    "commit",
)


def check_alike(run_dirs: list[Path], specs: list[PolicySpec]) -> None:
    """Refuse, before anything is played, runs that no common card can speak for.

    Raises:
        ValueError: for a run that is named twice, or differs from the first in its data, model,
            environment or reference; seeds and updates may differ.
    """
    places = [run_dir.resolve() for run_dir in run_dirs]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise ValueError(f"{run_dirs[i]}: named twice; an interval over runs counts each once")
    first = _identity(specs[0])
    for run_dir, spec in zip(run_dirs[1:], specs[1:], strict=True):
        for name, value in _identity(spec).items():
            if value != first[name]:
                raise ValueError(
                    f"{run_dir}: has another {name} than {run_dirs[0]}; evaluate them one by one "
                    f"and set them side by side with --compare"
                )


def aggregate_cards(cards: list[Card], names: list[str]) -> Card:
    """One card of several runs' cards, which asked for the same targets.

    What a run came to at a target is the mean of its episodes; an aggregate number is the
    interquartile mean over runs (Agarwal et al. 2021), and its interval says how it would vary from
    training to training.
    """
    rng = np.random.default_rng(cards[0]["seed"])
    asked = np.array([[row["target"] for row in card["targets"]] for card in cards])  # (R, T)
    # Models that choose their own returns ask for one each, and none for that of another.
    targets = asked.mean(axis=0) if cards[0]["expert"] else asked[0]
    ood = np.array([row["ood"] for row in cards[0]["targets"]])
    means = np.array([[row["return_mean"] for row in card["targets"]] for card in cards])  # (R, T)
    lengths = np.array([[row["length_mean"] for row in card["targets"]] for card in cards])
    centres = _over_runs(means)
    intervals = runs_interval(means, _over_runs, rng)
    reference = cards[0]["reference"]
    rows = [
        {
            "target": float(target),
            "ood": bool(ood[t]),
            "return_iqm": float(centres[t]),
            "return_ci95": intervals[t].tolist(),
            "return_mean": float(means[:, t].mean()),
            "return_std": float(means[:, t].std(ddof=1)),
            "normalized_score": reference and _normalize(reference, float(centres[t])),
            "length_mean": float(lengths[:, t].mean()),
            "run_means": means[:, t].tolist(),
        }
        for t, target in enumerate(targets)
    ]
    order = np.argsort(targets, kind="stable")
    inside = order[~ood[order]]
    calibration = _calibrate_runs(targets[inside], means[:, inside], cards, rng)
    steps = sum(card["wall_seconds"] * card["env_steps_per_second"] for card in cards)
    seconds = sum(card["wall_seconds"] for card in cards)
    selections = {card["selection"] for card in cards}
    card = {
        **{name: cards[0][name] for name in SHARED},
        # The same update can be one run's last and another's middle.
        "selection": selections.pop() if len(selections) == 1 else "chosen",
        "runs": [_summary(card, name) for card, name in zip(cards, names, strict=True)],
        "wall_seconds": round(seconds, 3),
        "env_steps_per_second": round(steps / seconds, 1),
        "targets": rows,
        "calibration": calibration,
        "beyond": beyond(targets, means.T, ood, rng),
        "verdict": ONE_TARGET if calibration is None else calibration["verdict"],
    }
    if cards[0]["expert"]:
        expectation = expected(asked[:, 0], means[:, 0])
        card |= {"expectation": expectation, "verdict": expectation["verdict"]}
    return card


def _calibrate_runs(
    targets: Float[np.ndarray, " T"],
    means: Float[np.ndarray, "R T"],
    cards: list[Card],
    rng: np.random.Generator,
) -> dict[str, Any] | None:
    """As a card's calibration, over runs; targets rise."""
    if len(targets) == 0 or np.ptp(targets) == 0:
        return None
    span = np.ptp(targets)
    slopes = slope(targets, means)
    # All targets of a run count, the worst above all; the middle half is that of the runs.
    errors = np.abs(means - targets).mean(axis=1) / span
    spread = runs_interval(errors, interquartile_mean, rng)
    line = _over_runs(means)
    verdicts = [card["verdict"] for card in cards]
    # Each run's episodes have told whether it follows; here only where the runs' line leads.
    standard = means.std(axis=0, ddof=1) / np.sqrt(len(means))
    shared = set(verdicts)
    words = shared.pop() if len(shared) == 1 else describe(targets, line, standard)
    steps = np.diff(targets) > 0
    rises = (np.diff(means, axis=1)[:, steps] > 0).sum()
    return {
        "slope": float(interquartile_mean(slopes)),
        "slope_ci95": runs_interval(slopes, interquartile_mean, rng).tolist(),
        "pearson": correlation(targets, line),
        "spearman": correlation(ranks(targets), ranks(line)),
        "mae_over_range": float(interquartile_mean(errors)),
        "mae_over_range_ci95": np.maximum(spread, 0.0).tolist(),
        "monotone": f"{rises}/{steps.sum() * len(means)}",
        "coverage": float(np.ptp(np.clip(line, targets.min(), targets.max())) / span),
        "verdict": agreement(verdicts, words),
    }


def _over_runs(scores: Float[np.ndarray, "*N R T"]) -> Float[np.ndarray, "*N T"]:
    return interquartile_mean(np.moveaxis(scores, -2, -1))


def _identity(spec: PolicySpec) -> dict[str, Any]:
    """What all runs of an aggregate share; data by its numbers, for a file may have moved."""
    return {
        "data set": dataclasses.replace(spec.dataset, name=""),
        "model": spec.model,
        "environment": (spec.env_id, spec.env_kwargs),
        "transforms": spec.transforms,
        "reference": spec.reference,
    }


def _summary(card: Card, name: str) -> dict[str, Any]:
    calibration = card["calibration"] or {}
    return {
        "name": name,
        "checkpoint_step": card["checkpoint_step"],
        "seed": card["seed"],
        "slope": calibration.get("slope"),
        "mae_over_range": calibration.get("mae_over_range"),
        "verdict": card["verdict"],
    }


def _normalize(reference: dict[str, Any], value: float) -> float:
    return float(Reference(**reference).normalize(value))
