"""Place the edges of bins, so that few of them tell a column's numbers apart."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float

MOST_ROWS = 200_000  # rows that are looked at; a quantile of them is right to about a thousandth
# Width of the bin around a value that data repeats, as a share of the column's range.
REPEATED_WIDTH = 1e-3


Placement: TypeAlias = Literal["uniform", "quantile"]


def placement_of(head: str) -> Placement | None:
    """Read off the name of a head how the edges of its bins are placed; None for no bins.

    The name's end says it: `bins-uniform`, `bins-quantile`, or another package's `ordinal-uniform`.
    """
    if head.endswith("-uniform"):
        return "uniform"
    return "quantile" if head.endswith("-quantile") else None


def bin_edges(
    values: Float[np.ndarray, "N A"],
    kind: Placement,
    num_bins: int,
    low: Float[np.ndarray, " A"],
    high: Float[np.ndarray, " A"],
) -> Float[np.ndarray, "A K1"]:
    """The num_bins + 1 edges of each column's bins, float32, never falling.

    Bins of one width ("uniform"), or with the same share of the data in each ("quantile").

    Args:
        values: rows of data; of more than 200,000, as many evenly spaced ones are looked at.
        low, high: bounds of the columns; where they are infinite, the data's own.

    Raises:
        ValueError: without rows, for numbers that are not finite, and for less than 2 bins.
    """
    if num_bins < 2:
        raise ValueError(f"num_bins is {num_bins}; it must be at least 2")
    if not len(values):
        raise ValueError("there are no rows to place bins by; give at least one")
    seen = np.asarray(values[:: -(-len(values) // MOST_ROWS)], np.float64)
    if not np.isfinite(seen).all():
        column = int(np.flatnonzero(~np.isfinite(seen).all(axis=0))[0])
        raise ValueError(f"column {column} holds numbers that are not finite; remove their rows")
    place = _uniform_edges if kind == "uniform" else _quantile_edges
    columns = [
        place(column, num_bins, bounds)
        for column, *bounds in zip(seen.T, low.tolist(), high.tolist(), strict=True)
    ]
    return np.stack(columns).astype(np.float32)


def _uniform_edges(column: np.ndarray, num_bins: int, bounds: list[float]) -> np.ndarray:
    low, high = _span(column, bounds)
    return np.linspace(low, high, num_bins + 1)


def _quantile_edges(column: np.ndarray, num_bins: int, bounds: list[float]) -> np.ndarray:
    """Quantiles; a value so frequent that edges coincide at it gets one narrow bin of its own.

    Without that its probability would be spread over a neighbouring bin, however wide: a motor
    that is either off or full would be driven at all speeds between. Edges that are left over
    stay where the narrow bin ends, as bins of no width.
    """
    low, high = _span(column, bounds)
    edges = np.clip(np.quantile(column, np.linspace(0.0, 1.0, num_bins + 1)), low, high)
    edges[0], edges[-1] = low, high
    width = REPEATED_WIDTH * (high - low)
    values, firsts, counts = np.unique(edges, return_index=True, return_counts=True)
    neighbours = np.concatenate([[low], values, [high]])
    for i in np.flatnonzero(counts > 1):
        first, end = firsts[i], firsts[i] + counts[i]
        # No further than half of the way to the next edge, which may be moved towards this one.
        edges[first + 1 : end] = values[i] + min(width, neighbours[i + 2] - values[i]) / 2
        edges[first] = values[i] - min(width, values[i] - neighbours[i]) / 2
    return edges


def _span(column: np.ndarray, bounds: list[float]) -> tuple[float, float]:
    """The bounds, or where there are none the data's; never without width."""
    low = bounds[0] if np.isfinite(bounds[0]) else float(column.min())
    high = bounds[1] if np.isfinite(bounds[1]) else float(column.max())
    if low < high:
        return low, high
    slack = REPEATED_WIDTH * max(1.0, abs(low))
    return low - slack, high + slack
