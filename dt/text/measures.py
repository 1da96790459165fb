"""Numbers of texts: slopes and their ratio with intervals, variety, what was copied."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from dt.evaluation.intervals import LEVEL, NUM_RESAMPLES
from dt.text.data.copies import WORD

Pairs: TypeAlias = tuple[np.ndarray, np.ndarray]
Statistic: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
COPIED_WORDS = 8  # that stand in training in the same order
TINY = 1e-12
AT_ONCE = 100  # resamples that lie in memory


@dataclass(frozen=True)
class Measured:
    """A number and its interval of 95 %; None where it cannot be computed."""

    value: float | None
    interval: tuple[float, float] | None

    def __str__(self) -> str:
        if self.value is None:
            return "not known"
        if self.interval is None:
            return f"{self.value:.3g}"
        return f"{self.value:.3g} ({self.interval[0]:.3g} to {self.interval[1]:.3g})"

    @property
    def above_zero(self) -> bool:
        return self.interval is not None and self.interval[0] > 0

    @property
    def holds_zero(self) -> bool:
        return self.interval is not None and self.interval[0] <= 0 <= self.interval[1]


UNKNOWN = Measured(None, None)


def slope(x: Float[np.ndarray, "*R n"], y: Float[np.ndarray, "*R n"]) -> Float[np.ndarray, "*R"]:
    """Fit the least-squares line of y over x along the last axis, and give its slope."""
    centred = x - x.mean(axis=-1, keepdims=True)
    spread = (centred**2).sum(axis=-1)
    return (centred * y).sum(axis=-1) / np.where(spread > TINY, spread, np.nan)


def correlation(
    x: Float[np.ndarray, "*R n"], y: Float[np.ndarray, "*R n"]
) -> Float[np.ndarray, "*R"]:
    """Give Pearson's correlation along the last axis; NaN where one side is constant."""
    a, b = (each - each.mean(axis=-1, keepdims=True) for each in (x, y))
    size = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    return (a * b).sum(axis=-1) / np.where(size > TINY, size, np.nan)


def resampled(
    statistic: Statistic,
    pairs: Pairs,
    seed: int = 0,
) -> Measured:
    """Estimate a statistic of pairs (x, y) and its interval by a bootstrap over the pairs."""
    values = _bootstrap(statistic, pairs, np.random.default_rng(seed))
    return _measured(float(statistic(*pairs)), values)


def slope_ratio(written: Pairs, real: Pairs, seed: int = 0) -> Measured:
    """Divide the slope of what was written by that of real texts; both are resampled.

    Args:
        written: scores asked for, and the judge's of what came.
        real: true scores of held-out texts, and the judge's of these.
    """
    rng = np.random.default_rng(seed)
    below = _bootstrap(slope, real, rng)
    ratios = _bootstrap(slope, written, rng) / np.where(np.abs(below) > TINY, below, np.nan)
    bottom = float(slope(*real))
    if not abs(bottom) > TINY:
        return UNKNOWN
    return _measured(float(slope(*written)) / bottom, ratios)


def steps_up(means: Sequence[float]) -> int:
    """Count the steps to the next target at which more came."""
    return sum(after > before for before, after in zip(means, means[1:], strict=False))


def distinct(texts: Sequence[str], n: int) -> float | None:
    """Share of the texts' runs of n words that are different; None where there are none."""
    grams = [gram for text in texts for gram in _grams(text, n)]
    return len(set(grams)) / len(grams) if grams else None


def copied(texts: Sequence[str], training: Sequence[str], n: int = COPIED_WORDS) -> float | None:
    """Share of the texts' runs of n words that stand in training; None where there are none."""
    known = {gram for text in training for gram in _grams(text, n)}
    grams = [gram for text in texts for gram in _grams(text, n)]
    return sum(gram in known for gram in grams) / len(grams) if grams else None


def bits(nats: float) -> float:
    """Turn nats into bits."""
    return nats / math.log(2)


def _grams(text: str, n: int) -> list[tuple[str, ...]]:
    words = WORD.findall(text.lower())
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _bootstrap(
    statistic: Statistic, pairs: Pairs, rng: np.random.Generator
) -> Float[np.ndarray, " R"]:
    x, y = pairs
    values = []
    for _ in range(NUM_RESAMPLES // AT_ONCE):
        drawn = rng.integers(0, len(x), size=(AT_ONCE, len(x)))
        values.append(np.asarray(statistic(x[drawn], y[drawn])))
    return np.concatenate(values)


def _measured(value: float, values: np.ndarray) -> Measured:
    if not math.isfinite(value):
        return UNKNOWN
    values = values[np.isfinite(values)]
    if not len(values):
        return Measured(value, None)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail]).tolist()
    return Measured(value, (low, high))
