"""How often a score card's 95 % intervals hold the truth, simulated, where the truth is known.

    python benchmarks/interval_coverage.py               about four minutes
    python benchmarks/interval_coverage.py --trials 500

Every number is the share of trials in which the interval held the truth, in percent; "<" and ">"
mark those outside of 93 to 97. Its standard error is 0.34 points with 4,000 trials, and twice that
for runs and probabilities, which get a quarter of them. Beside ours stand the plain percentile
bootstrap and what a textbook would take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tyro
from scipy.special import ndtr, stdtrit

from dt.evaluation.intervals import (
    NUM_RESAMPLES,
    improvement_interval,
    interquartile_mean,
    mean_interval,
    runs_interval,
    slope,
    welch_interval,
)

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
BATCH = 100  # trials that share their resamples


@dataclass(frozen=True)
class Config:
    """Coverage of the intervals in dt/evaluation/intervals.py."""

    trials: int = 4000
    seed: int = 0


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(0.0, 1.0, shape)


def exponential(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.exponential(1.0, shape)


def heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_t(3, shape)


def even(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Success or not, half of the time."""
    return (rng.random(shape) < 0.5).astype(float)


def rare(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Success or not, one time in ten."""
    return (rng.random(shape) < 0.1).astype(float)


def capped(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Half of the episodes reach the limit, the others fall short by various lengths."""
    return np.minimum(0.0, rng.normal(0.0, 1.0, shape))


def failing(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Runs of which 15 % never learn."""
    return rng.normal(0.0, 1.0, shape) - 8.0 * (rng.random(shape) < 0.15)


MEANS = {"normal": 0.0, "exponential": 1.0, "even": 0.5, "rare": 0.1}
MEANS["capped"] = -1 / np.sqrt(2 * np.pi)
DRAWS: dict[str, Draw] = {
    each.__name__: each for each in (normal, exponential, heavy, even, rare, capped, failing)
}


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    rng = np.random.default_rng(config.seed)
    sections = (of_means, of_slopes, of_runs, of_differences, of_probabilities)
    for section in sections:
        print(f"\n{section.__doc__}")
        for label, hits in section(rng, config.trials):
            cells = [f"{name} {_percent(np.concatenate(each))}" for name, each in hits.items()]
            print(f"  {label:28}" + "   ".join(cells), flush=True)


Section = Iterator[tuple[str, dict[str, list[np.ndarray]]]]


def of_means(rng: np.random.Generator, trials: int) -> Section:
    """A mean of n episodes"""
    for name, truth in MEANS.items():
        for n in (5, 10, 20, 50, 100):
            hits: dict[str, list[np.ndarray]] = {"ours": [], "percentile": [], "Student": []}
            for _ in range(trials // BATCH):
                sample = DRAWS[name](rng, (BATCH, n))
                hits["ours"].append(_holds(mean_interval(sample, rng), truth))
                hits["percentile"].append(_holds(_percentile_interval(sample, rng), truth))
                hits["Student"].append(_holds(_student_interval(sample), truth))
            yield f"{name}, n = {n}", hits


def of_slopes(rng: np.random.Generator, trials: int) -> Section:
    """The calibration slope over 7 targets, n episodes each, the same n starts at every target"""
    targets, truth = np.linspace(0.0, 6.0, 7), 0.6
    for name in ("normal", "exponential", "capped"):
        for n in (5, 10, 20, 50):
            hits: dict[str, list[np.ndarray]] = {"ours": [], "percentile": [], "Student": []}
            for _ in range(trials // BATCH):
                luck = DRAWS[name](rng, (BATCH, n, 1))
                noise = DRAWS[name](rng, (BATCH, n, 7))
                slopes = slope(targets, truth * targets + luck + noise)
                hits["ours"].append(_holds(mean_interval(slopes, rng), truth))
                hits["percentile"].append(_holds(_percentile_interval(slopes, rng), truth))
                hits["Student"].append(_holds(_student_interval(slopes), truth))
            yield f"{name}, n = {n}", hits


def of_runs(rng: np.random.Generator, trials: int) -> Section:
    """The interquartile mean of R runs of 20 episodes; runs and episodes differ equally, and x 3"""
    for name, between in (
        ("normal", 1.0),
        ("normal", 3.0),
        ("exponential", 3.0),
        ("heavy", 3.0),
        ("failing", 3.0),
    ):
        truth = _iqm_of_means(name, between)
        for count in (2, 3, 4, 5, 8, 10, 20):
            hits: dict[str, list[np.ndarray]] = {
                "ours": [],
                "runs, unstretched": [],
                "runs and episodes, unstretched": [],
                "runs and episodes, stretched": [],
            }
            for _ in range(trials // 4):
                episodes = between / np.sqrt(20) * DRAWS[name](rng, (count, 1))
                episodes = episodes + rng.normal(0.0, 1.0, (count, 20))
                means = episodes.mean(axis=1)
                ours = runs_interval(means, interquartile_mean, rng)
                factor = np.sqrt(count / (count - 1)) * stdtrit(count - 1, 0.025) / -1.959964
                hits["ours"].append(_holds(ours[None], truth))
                centre = interquartile_mean(means)
                plain = centre + (ours - centre) / factor
                hits["runs, unstretched"].append(_holds(plain[None], truth))
                rows = rng.integers(0, count, (NUM_RESAMPLES // 4, count))
                columns = rng.integers(0, 20, (NUM_RESAMPLES // 4, count, 20))
                drawn = interquartile_mean(episodes[rows[..., None], columns].mean(axis=-1))
                both = np.quantile(drawn, [0.025, 0.975])
                hits["runs and episodes, unstretched"].append(_holds(both[None], truth))
                both = centre + factor * (both - centre)
                hits["runs and episodes, stretched"].append(_holds(both[None], truth))
            yield f"{name} x {between:g}, R = {count}", hits


def of_differences(rng: np.random.Generator, trials: int) -> Section:
    """Mean of B less mean of A, n episodes each; B spreads twice as much; starts are shared"""
    for name in ("normal", "exponential", "even"):
        truth = MEANS[name]
        for n in (5, 10, 20, 50):
            hits: dict[str, list[np.ndarray]] = {"paired": [], "Welch": []}
            for _ in range(trials // BATCH):
                starts = rng.normal(0.0, 1.0, (BATCH, n))
                a, b = (DRAWS[name](rng, (BATCH, n)) for _ in range(2))
                paired = mean_interval((2 * b + starts) - (a + starts), rng)
                hits["paired"].append(_holds(paired, truth))
                hits["Welch"].append(_holds(welch_interval(a, 2 * b), truth))
            yield f"{name}, n = {n}", hits


def of_probabilities(rng: np.random.Generator, trials: int) -> Section:
    """P(B > A), n episodes each; at one target, at 7, and by a percentile bootstrap at one"""
    for shift in (0.0, 0.5, 1.5, 2.5):
        truth = float(ndtr(shift / np.sqrt(2)))
        for n in (5, 10, 20, 50):
            hits: dict[str, list[np.ndarray]] = {"ours": [], "ours, 7": [], "percentile": []}
            for _ in range(trials // 4):
                a, b = rng.normal(0.0, 1.0, (7, n)), rng.normal(shift, 1.0, (7, n))
                one = np.array(improvement_interval(a[:1], b[:1])[1])
                hits["ours"].append(_holds(one[None], truth))
                seven = np.array(improvement_interval(a, b)[1])
                hits["ours, 7"].append(_holds(seven[None], truth))
                wins = (b[0] > a[0][:, None]).astype(float)
                rows, columns = (rng.multinomial(n, np.ones(n) / n, 500) for _ in range(2))
                drawn = ((rows @ wins) * columns).sum(axis=1) / n**2
                plain = np.quantile(drawn, [0.025, 0.975])
                hits["percentile"].append(_holds(plain[None], truth))
            yield f"P = {truth:.2f}, n = {n}", hits


def _iqm_of_means(name: str, between: float) -> float:
    """What the interquartile mean of endlessly many runs comes to."""
    if name in ("normal", "heavy"):
        return 0.0
    rng = np.random.default_rng(99)
    runs = between * DRAWS[name](rng, (4_000_000,)) + rng.normal(0.0, 1.0, 4_000_000)
    return float(interquartile_mean(runs)) / np.sqrt(20)


def _percentile_interval(sample: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    n = sample.shape[-1]
    counts = rng.multinomial(n, np.ones(n) / n, NUM_RESAMPLES)
    return np.moveaxis(np.quantile(sample @ counts.T / n, [0.025, 0.975], axis=-1), 0, -1)


def _student_interval(sample: np.ndarray) -> np.ndarray:
    n = sample.shape[-1]
    half = -stdtrit(n - 1, 0.025) * sample.std(axis=-1, ddof=1) / np.sqrt(n)
    return np.stack([sample.mean(axis=-1) - half, sample.mean(axis=-1) + half], axis=-1)


def _holds(intervals: np.ndarray, truth: float) -> np.ndarray:
    slack = 1e-12
    return (intervals[:, 0] <= truth + slack) & (truth - slack <= intervals[:, 1])


def _percent(hits: np.ndarray) -> str:
    share = 100 * hits.mean()
    return f"{share:5.1f}{'<' if share < 93 else '>' if share > 97 else ' '}"


if __name__ == "__main__":
    main()
