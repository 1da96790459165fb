"""Do edges split the data as told, and does a value that repeats keep a bin of its own?"""

from __future__ import annotations

import numpy as np
import pytest

from dt.spec.bins import MOST_ROWS, bin_edges

UNBOUNDED = (np.array([-np.inf]), np.array([np.inf]))
UNIT = (np.array([-1.0]), np.array([1.0]))


def one_column(values: list[float] | np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32)[:, None]


def test_uniform_edges_span_the_bounds_or_else_the_data() -> None:
    values = np.array([[0.0, 3.0], [0.5, 5.0]], np.float32)
    edges = bin_edges(values, "uniform", 4, np.array([-1.0, -np.inf]), np.array([1.0, np.inf]))
    np.testing.assert_allclose(edges, [[-1, -0.5, 0, 0.5, 1], [3, 3.5, 4, 4.5, 5]])
    assert edges.dtype == np.float32


def test_quantile_edges_hold_the_same_share_of_the_data_each() -> None:
    values = np.random.default_rng(0).exponential(size=(10_000, 1)).astype(np.float32)
    edges = bin_edges(values, "quantile", 8, *UNBOUNDED)[0]
    counts = np.histogram(values, edges)[0]
    np.testing.assert_allclose(counts / 10_000, 1 / 8, atol=2e-3)


def test_quantile_edges_reach_the_bounds_of_the_space() -> None:
    values = np.random.default_rng(0).uniform(-0.5, 0.5, (1000, 1))
    edges = bin_edges(values, "quantile", 4, *UNIT)[0]
    assert (edges[0], edges[-1]) == (-1.0, 1.0)
    np.testing.assert_allclose(edges[1:-1], [-0.25, 0.0, 0.25], atol=0.05)


@pytest.mark.parametrize("bounds", [UNIT, UNBOUNDED])
def test_repeated_values_have_narrow_bins_of_their_own(
    bounds: tuple[np.ndarray, np.ndarray],
) -> None:
    """A third at each bound, a ninth at 0.25, the rest between: clipped actions look so."""
    rng = np.random.default_rng(0)
    parts = [-np.ones(3000), np.ones(3000), np.full(1000, 0.25), rng.uniform(-1, 1, 2000)]
    values = one_column(np.concatenate(parts))
    edges = bin_edges(values, "quantile", 50, *bounds)[0]
    assert len(edges) == 51 and (np.diff(edges) >= 0).all()
    counts, widths = np.histogram(values, edges)[0], np.diff(edges)
    for value, share in ((-1.0, 3000), (1.0, 3000), (0.25, 1000)):
        own = np.flatnonzero((edges[:-1] <= value) & (value <= edges[1:]) & (widths > 0))
        narrow = own[np.argmin(widths[own])]
        assert 0 < widths[narrow] <= 2.1e-3
        inside = (values >= edges[narrow]) & (values <= edges[narrow + 1])
        assert share <= inside.sum() <= share + 10
    assert counts[widths > 0.01].max() < 500, "what does not repeat is still split"


@pytest.mark.parametrize("kind", ["uniform", "quantile"])
def test_a_constant_column_has_bins_around_its_value(kind: str) -> None:
    for value in (0.0, -7.5, 1e5):
        edges = bin_edges(one_column([value] * 9), kind, 6, *UNBOUNDED)[0]  # type: ignore[arg-type]
        assert edges[0] < value < edges[-1] and (np.diff(edges) >= 0).all()
        assert edges[-1] - edges[0] < 0.01 * max(1.0, abs(value))


def test_values_beside_each_other_never_make_edges_fall() -> None:
    """Narrow bins of neighbouring repeated values share what lies between them."""
    values = one_column(np.repeat([0.0, 1e-5, 2e-5, 1.0], 100))
    edges = bin_edges(values, "quantile", 20, *UNBOUNDED)[0]
    assert (np.diff(edges) >= 0).all()
    holding = {int(np.searchsorted(edges, v, side="right")) for v in (0.0, 1e-5, 2e-5)}
    assert len(holding) == 3, "each has its own"


def test_of_many_rows_evenly_spaced_ones_are_looked_at() -> None:
    values = one_column(np.linspace(0, 1, 3 * MOST_ROWS + 1))
    edges = bin_edges(values, "quantile", 4, *UNBOUNDED)[0]
    np.testing.assert_allclose(edges, [0, 0.25, 0.5, 0.75, 1], atol=1e-4)


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(ValueError, match="num_bins is 1; it must be at least 2"):
        bin_edges(one_column([1.0]), "uniform", 1, *UNIT)
    with pytest.raises(ValueError, match="no rows to place bins by"):
        bin_edges(np.zeros((0, 1)), "uniform", 4, *UNIT)
    with pytest.raises(ValueError, match="column 1 holds numbers that are not finite"):
        values = np.array([[0.0, 1.0], [0.0, np.nan]])
        bin_edges(values, "quantile", 4, -np.ones(2), np.ones(2))
