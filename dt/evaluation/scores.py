"""Scores of a card's calibration: each one function of what was asked and what came.

A score more is one function and one entry of `SCORES`, of this project or of another:

    SCORES["regret"] = Score(lambda asked, returns, data, rng: float(...), label="regret")

It then stands in card.json under its name, in the table and in card.md with its label, and is
summed up over runs by `interquartile_over_runs`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from dt.data.summary import DatasetSummary
from dt.evaluation.intervals import (
    correlation,
    interquartile_mean,
    mean_interval,
    rank_correlation,
    runs_interval,
    slope,
)
from dt.evaluation.parts import Calibration, Estimate, Interval, ScoreValue
from dt.evaluation.verdict import judge

# Targets (T,) that rise, the returns (T, E) of E episodes at each, the data that was learned from,
# and what to draw resamples by.
Measure: TypeAlias = Callable[
    [np.ndarray, np.ndarray, DatasetSummary, np.random.Generator], ScoreValue
]
# The same targets (T,), and the mean returns (R, T) of R runs at each.
MeasureOfRuns: TypeAlias = Callable[[np.ndarray, np.ndarray, np.random.Generator], ScoreValue]


@dataclass(frozen=True)
class Score:
    """A score: how it is measured, and how it is shown."""

    measure: Measure
    label: str = ""
    """What stands before the number on the printed card; "": the score is in card.json alone."""
    form: str = ".3g"
    """How the number is printed."""
    scale: float = 1.0
    """What the number is multiplied by before it is printed, 100 for a share in percent."""
    unit: str = ""
    """What stands after the number."""
    over_runs: MeasureOfRuns | None = None
    """From the means of several runs; None: the interquartile mean of the runs' own scores."""
    common_draws: bool = False
    """Draw from the card's own generator. Others have one of their own each, so that a score more
    changes no other number."""

    def text(self, value: ScoreValue) -> str:
        """Write the label and the value as a card's table does, with its interval."""
        if value is None or isinstance(value, str):
            return f"{self.label} {value or 'undefined'}"
        if not isinstance(value, Estimate):
            return f"{self.label} {self.scale * value:{self.form}}{self.unit}"
        shown = value.scaled(self.scale)
        interval = interval_text(shown.ci95, self.form)
        return f"{self.label} {shown.value:{self.form}}{self.unit} ({interval})"


def interval_text(interval: Interval | None, form: str) -> str:
    """Write both ends of an interval; `form` is as of `format`."""
    if interval is None:
        return "no interval"
    return f"{interval[0]:{form}} to {interval[1]:{form}}"


def calibrate(
    targets: Float[np.ndarray, " T"],
    returns: Float[np.ndarray, "T E"],
    data: DatasetSummary,
    rng: np.random.Generator,
    size: float | None = None,
) -> Calibration | None:
    """Measure how the achieved return follows the target; None for a single target.

    Args:
        size: what the spread of the data's returns is held against, such as a reference's range;
            the returns' own size by default.
    """
    if np.ptp(targets) == 0:
        return None
    order = np.argsort(targets, kind="stable")
    targets, returns = targets[order], returns[order]
    scores = {
        name: score.measure(targets, returns, data, _draws(score, rng))
        for name, score in SCORES.items()
    }
    line = Calibration(scores, "").slope
    return Calibration(scores, judge(targets, returns, line, data, size))


def scores_over_runs(
    targets: Float[np.ndarray, " T"],
    means: Float[np.ndarray, "R T"],
    calibrations: list[Calibration | None],
    rng: np.random.Generator,
) -> dict[str, ScoreValue]:
    """Sum up the scores of several runs, which asked for the same targets; targets rise.

    Args:
        calibrations: of each run's own card.
    """
    scores: dict[str, ScoreValue] = {}
    for name, score in reversed(SCORES.items()):  # the error has always drawn before the slope
        draws = _draws(score, rng)
        if score.over_runs is not None:
            scores[name] = score.over_runs(targets, means, draws)
        else:
            own = [each.scores.get(name) if each else None for each in calibrations]
            scores[name] = interquartile_over_runs(own, draws)
    return {name: scores[name] for name in SCORES}


def interquartile_over_runs(values: list[ScoreValue], rng: np.random.Generator) -> ScoreValue:
    """Take the interquartile mean of the runs' numbers, and its interval over runs.

    Words are kept where all runs have the same; None where they differ, or a run has no score.
    """
    numbers = [value.value if isinstance(value, Estimate) else value for value in values]
    if any(number is None or isinstance(number, str) for number in numbers):
        return numbers[0] if len(set(numbers)) == 1 else None
    sample = np.array(numbers, np.float64)
    return _over_runs(sample, rng)


def _draws(score: Score, rng: np.random.Generator) -> np.random.Generator:
    return rng if score.common_draws else rng.spawn(1)[0]


def _over_runs(sample: Float[np.ndarray, " R"], rng: np.random.Generator) -> Estimate:
    low, high = runs_interval(sample, interquartile_mean, rng).tolist()
    return Estimate(float(interquartile_mean(sample)), (low, high))


def _slope(
    asked: np.ndarray, returns: np.ndarray, _: DatasetSummary, rng: np.random.Generator
) -> Estimate:
    """Of the least-squares line through all episodes: 1 is perfect, 0 ignores the target.

    Its interval is a bootstrap over seeds, which all targets share.
    """
    # The line through all episodes is the mean of the lines through the episodes of one seed.
    slopes = slope(asked, returns.T)
    value = float(slope(asked, returns.mean(axis=1)))
    if len(slopes) == 1:
        return Estimate(value)
    low, high = mean_interval(slopes, rng).tolist()
    return Estimate(value, (low, high))


def _slope_of_runs(asked: np.ndarray, means: np.ndarray, rng: np.random.Generator) -> Estimate:
    return _over_runs(slope(asked, means), rng)


def _error(
    asked: np.ndarray, returns: np.ndarray, _: DatasetSummary, __: np.random.Generator
) -> float:
    """Mean |achieved - target| over the span of the targets, as in RADT's return alignment."""
    return float(np.abs(returns.mean(axis=1) - asked).mean() / float(asked.max() - asked.min()))


def _error_of_runs(asked: np.ndarray, means: np.ndarray, rng: np.random.Generator) -> Estimate:
    """All targets of a run count, the worst above all; the middle half is that of the runs."""
    errors = np.abs(means - asked).mean(axis=1) / np.ptp(asked)
    spread = np.maximum(runs_interval(errors, interquartile_mean, rng), 0.0)
    low, high = spread.tolist()
    return Estimate(float(interquartile_mean(errors)), (low, high))


def _monotone(
    asked: np.ndarray, returns: np.ndarray, _: DatasetSummary, __: np.random.Generator
) -> str:
    """k/n: of n neighbouring pairs of targets, in k more was asked and more came."""
    return _rises(asked, returns.mean(axis=1)[None])


def _rises(asked: np.ndarray, means: Float[np.ndarray, "R T"]) -> str:
    steps = np.diff(asked) > 0
    rises = int((np.diff(means, axis=1)[:, steps] > 0).sum())
    return f"{rises}/{steps.sum() * len(means)}"


def _coverage(asked: np.ndarray, line: Float[np.ndarray, " T"]) -> float:
    """Share of the targets' span that the achieved means span."""
    low, high = asked.min(), asked.max()
    reached = np.clip(line, low, high)
    return float(reached.max() - reached.min()) / float(high - low)


def _of_line(number: Callable[[np.ndarray, np.ndarray], float | None], label: str = "") -> Score:
    """A score of the mean return at each target; of several runs, their interquartile mean."""
    return Score(
        lambda asked, returns, data, rng: number(asked, returns.mean(axis=1)),
        label=label,
        over_runs=lambda asked, means, rng: number(asked, interquartile_mean(means.T)),
    )


SCORES: dict[str, Score] = {
    "slope": Score(_slope, "slope", ".3f", over_runs=_slope_of_runs, common_draws=True),
    "pearson": _of_line(correlation),
    "spearman": _of_line(rank_correlation),
    "mae_over_range": Score(
        _error, "error", ".1f", 100.0, " % of the range", _error_of_runs, common_draws=True
    ),
    "monotone": Score(_monotone, "monotone", over_runs=lambda a, means, _: _rises(a, means)),
    "coverage": _of_line(_coverage),
}
"""By name, in the order of card.json and of the table."""
