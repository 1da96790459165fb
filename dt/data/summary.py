"""Summarise a data set in numbers small enough to travel with a policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from dt.data.episodes import EpisodeDataset
from dt.data.store.rows import TrainingData


@dataclass(frozen=True)
class DatasetSummary:
    """Size and spread of returns: what targets, cards and pictures need of the data."""

    name: str
    episodes: int
    steps: int
    return_mean: float
    return_percentiles: tuple[float, ...]  # 0, 1, ..., 100
    histogram_edges: tuple[float, ...]
    histogram_counts: tuple[int, ...]

    @classmethod
    def of(cls, dataset: EpisodeDataset | TrainingData, num_bins: int = 40) -> DatasetSummary:
        """Summarise all episodes; the histogram of their returns has `num_bins` bins."""
        edges, counts = histogram(dataset.returns, num_bins)
        return cls(
            name=dataset.name,
            episodes=len(dataset),
            steps=dataset.num_steps,
            return_mean=float(dataset.returns.mean()),
            return_percentiles=tuple(np.percentile(dataset.returns, range(101)).tolist()),
            histogram_edges=tuple(edges.tolist()),
            histogram_counts=tuple(counts.tolist()),
        )

    def percentile(self, p: float) -> float:
        """Find the p-th percentile of the episodes' returns, p from 0 to 100."""
        return float(np.interp(p, np.arange(101), self.return_percentiles))


def histogram(
    values: Float[np.ndarray, " E"], num_bins: int = 40
) -> tuple[Float[np.ndarray, " B1"], Int[np.ndarray, " B"]]:
    """Count values in bins from the lowest to the highest, even where all are alike."""
    low, high = values.min(), values.max()
    if high - low <= 1e-9 * max(1.0, abs(low), abs(high)):  # too alike for bins between them
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(values, bins=num_bins, range=(low, high))
    return edges, counts


def whole_histogram(
    values: Int[np.ndarray, " E"], num_bins: int = 40
) -> tuple[Float[np.ndarray, " B1"], Int[np.ndarray, " B"]]:
    """Count whole numbers in at most `num_bins` bins that hold equally many of them."""
    low, span = int(values.min()), int(np.ptp(values)) + 1
    width = -(-span // num_bins)
    edges = low - 0.5 + width * np.arange(-(-span // width) + 1)
    return edges, np.histogram(values, bins=edges)[0]
