"""Aggregate cards: the score cards of several runs in one, with intervals over runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from dt.data.reference import Reference
from dt.evaluation.card import AggregateCard, Card
from dt.evaluation.intervals import interquartile_mean, runs_interval, within_seen
from dt.evaluation.parts import Calibration, Expectation, RunsTargetScore, RunSummary
from dt.evaluation.scores import scores_over_runs
from dt.evaluation.verdict import NO_RETURN, ONE_TARGET, agreement, beyond, describe, expected
from dt.spec.spec import PolicySpec


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


def aggregate_cards(cards: list[Card], names: list[str]) -> AggregateCard:
    """Make one card of several runs' cards, which asked for the same targets.

    What a run came to at a target is the mean of its episodes; an aggregate number is the
    interquartile mean over runs (Agarwal et al. 2021), and its interval says how it would vary from
    training to training.
    """
    first = cards[0]
    rng = np.random.default_rng(first.seed)
    asked = np.array([[row.target for row in card.targets] for card in cards])  # (R, T)
    # Models that choose their own returns ask for one each, and none for that of another.
    targets = asked.mean(axis=0) if first.acting.expert else asked[0]
    ood = np.array([row.ood for row in first.targets])
    means = np.array([[row.return_mean for row in card.targets] for card in cards])  # (R, T)
    rows = _rows(targets, ood, means, cards, rng)
    order = np.argsort(targets, kind="stable")
    inside = order[~ood[order]]
    calibration = _calibrate_runs(targets[inside], means[:, inside], cards, rng)
    above = beyond(targets, means.T, ood, rng)
    expectation: Expectation | None = None
    verdict = ONE_TARGET if calibration is None else calibration.verdict
    if not first.takes_return:
        verdict = NO_RETURN
    elif first.acting.expert:
        expectation = expected(asked[:, 0], means[:, 0])
        verdict = expectation.verdict
    steps = sum(card.wall_seconds * card.env_steps_per_second for card in cards)
    seconds = sum(card.wall_seconds for card in cards)
    selections = {card.selection for card in cards}
    return AggregateCard(
        # What the runs have in common; a card of it says so once.
        env_id=first.env_id,
        env_kwargs=first.env_kwargs,
        acting=first.acting,
        return_expectile=first.return_expectile,
        on_device=first.on_device,
        layout=first.layout,
        episodes=first.episodes,
        reference=first.reference,
        dataset=first.dataset,
        versions=first.versions,
        command=first.command,
        commit=first.commit,
        # The same update can be one run's last and another's middle.
        selection=selections.pop() if len(selections) == 1 else "chosen",
        runs=tuple(_summary(card, name) for card, name in zip(cards, names, strict=True)),
        wall_seconds=round(seconds, 3),
        env_steps_per_second=round(steps / seconds, 1),
        targets=rows,
        calibration=calibration,
        beyond=above,
        verdict=verdict,
        expectation=expectation,
    )


def _rows(
    targets: Float[np.ndarray, " T"],
    ood: Bool[np.ndarray, " T"],
    means: Float[np.ndarray, "R T"],
    cards: list[Card],
    rng: np.random.Generator,
) -> tuple[RunsTargetScore, ...]:
    lengths = np.array([[row.length_mean for row in card.targets] for card in cards])
    centres = _over_runs(means)
    percentiles = cards[0].dataset.return_percentiles
    seen = [percentiles["p0"], percentiles["p100"]]
    returns = [row.episode_returns for card in cards for row in card.targets]
    drawn = runs_interval(means, _over_runs, rng)
    intervals = within_seen(drawn, means, np.array(seen), *map(np.array, returns))
    reference = cards[0].reference
    return tuple(
        RunsTargetScore(
            target=float(target),
            ood=bool(ood[t]),
            return_iqm=float(centres[t]),
            return_ci95=(float(intervals[t, 0]), float(intervals[t, 1])),
            return_mean=float(means[:, t].mean()),
            return_std=float(means[:, t].std(ddof=1)),
            normalized_score=_normalize(reference, float(centres[t])),
            length_mean=float(lengths[:, t].mean()),
            run_means=tuple(means[:, t].tolist()),
        )
        for t, target in enumerate(targets)
    )


def _calibrate_runs(
    targets: Float[np.ndarray, " T"],
    means: Float[np.ndarray, "R T"],
    cards: list[Card],
    rng: np.random.Generator,
) -> Calibration | None:
    """As a card's calibration, over runs; targets rise."""
    if len(targets) == 0 or np.ptp(targets) == 0:
        return None
    scores = scores_over_runs(targets, means, [card.calibration for card in cards], rng)
    verdicts = [card.verdict for card in cards]
    # Each run's episodes have told whether it follows; here only where the runs' line leads.
    standard = means.std(axis=0, ddof=1) / np.sqrt(len(means))
    shared = set(verdicts)
    miss = Calibration(scores, "").mae_over_range.value
    line = describe(targets, _over_runs(means), standard, miss)
    line = shared.pop() if len(shared) == 1 else line
    return Calibration(scores, agreement(verdicts, line))


def _over_runs(scores: Float[np.ndarray, "*N R T"]) -> Float[np.ndarray, "*N T"]:
    return interquartile_mean(np.moveaxis(scores, -2, -1))


def _identity(spec: PolicySpec) -> dict[str, object]:
    """What all runs of an aggregate share; data by its numbers, for a file may have moved."""
    return {
        "data set": dataclasses.replace(spec.dataset, name=""),
        "model": spec.model,
        "environment": (spec.env_id, spec.env_kwargs),
        "transforms": spec.transforms,
        "reference": spec.reference,
    }


def _summary(card: Card, name: str) -> RunSummary:
    calibration = card.calibration
    return RunSummary(
        name=name,
        checkpoint_step=card.checkpoint_step,
        seed=card.seed,
        slope=None if calibration is None else calibration.slope.value,
        mae_over_range=None if calibration is None else calibration.mae_over_range.value,
        verdict=card.verdict,
    )


def _normalize(reference: Reference | None, value: float) -> float | None:
    return None if reference is None else float(reference.normalize(value))
