"""Summaries of planted returns, which tests of targets and of verdicts share."""

from __future__ import annotations

import numpy as np

from dt.data.summary import DatasetSummary


def summarize(returns: np.ndarray) -> DatasetSummary:
    counts, edges = np.histogram(returns, bins=10)
    return DatasetSummary(
        name="planted",
        episodes=len(returns),
        steps=10 * len(returns),
        return_mean=float(returns.mean()),
        return_percentiles=tuple(np.percentile(returns, range(101)).tolist()),
        histogram_edges=tuple(edges.tolist()),
        histogram_counts=tuple(counts.tolist()),
    )


WIDE = summarize(np.linspace(0.0, 200.0, 201))  # the p-th percentile is 2p
