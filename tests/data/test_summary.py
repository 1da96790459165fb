"""Is a data set's summary small, true, and whole even where all returns are alike?"""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from dt.data import EpisodeDataset
from dt.data.summary import DatasetSummary, whole_histogram


def summarize(returns: list[float]) -> DatasetSummary:
    """Of episodes of two steps that share their return."""
    num_steps = 2 * len(returns)
    return DatasetSummary.of(
        EpisodeDataset(
            name="planted",
            observations=np.zeros((num_steps, 1), np.float32),
            actions=np.zeros((num_steps, 1), np.float32),
            rewards=np.repeat(np.array(returns) / 2, 2),
            terminations=np.zeros(num_steps, bool),
            truncations=np.zeros(num_steps, bool),
            offsets=np.arange(0, num_steps + 1, 2),
            observation_space=spaces.Box(-1.0, 1.0, (1,), np.float32),
            action_space=spaces.Box(-1.0, 1.0, (1,), np.float32),
        )
    )


def test_a_summary_counts_episodes_steps_and_returns() -> None:
    summary = summarize([0.0, 10.0, 20.0, 50.0])
    assert (summary.name, summary.episodes, summary.steps) == ("planted", 4, 8)
    assert summary.return_mean == 20.0
    assert sum(summary.histogram_counts) == 4
    assert (summary.histogram_edges[0], summary.histogram_edges[-1]) == (0.0, 50.0)


@pytest.mark.parametrize(
    ("percent", "expected"), [(0.0, 0.0), (50.0, 50.0), (2.5, 2.5), (100.0, 100.0)]
)
def test_percentiles_are_those_of_the_returns(percent: float, expected: float) -> None:
    summary = summarize([float(r) for r in range(101)])
    assert summary.percentile(percent) == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.0, -7.0, 1e9])
@pytest.mark.parametrize("apart", [0.0, 1e-12])
def test_returns_that_are_all_alike_still_make_a_histogram(value: float, apart: float) -> None:
    summary = summarize([value, value * (1 + apart), value])
    assert sum(summary.histogram_counts) == 3
    assert (np.diff(summary.histogram_edges) > 0).all()


@pytest.mark.parametrize("low", [0, 7])
@pytest.mark.parametrize("span", [1, 2, 39, 40, 41, 81, 1000])
def test_bins_of_whole_numbers_hold_equally_many_of_them(low: int, span: int) -> None:
    edges, counts = whole_histogram(np.arange(low, low + span))
    assert counts.sum() == span and len(counts) <= 40
    assert len(set(counts[:-1])) <= 1 and counts[-1] <= counts[0]
    assert edges[0] == low - 0.5 and edges[-1] >= low + span - 0.5
