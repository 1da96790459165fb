"""Count, column by column, what never varies, is not finite, or leaves its bounds."""

from __future__ import annotations

from typing import TypeAlias, TypedDict

import gymnasium
import numpy as np
from gymnasium import spaces

from dt.data.checks import Locate
from dt.data.store.origins import FEW_FLOATS, NOISE, SMALLEST_SPREAD
from dt.spaces.parts import Leaf

Bounds: TypeAlias = tuple[np.ndarray, np.ndarray]

MAX_NAMED = 20  # columns with a fault that are listed; a picture has thousands
EDGE = 1e-3  # an action this near its bound, in half-ranges of the space, is saturated


class Range(TypedDict):
    """The lowest and the highest finite value; None where there is none."""

    low: float | None
    high: float | None


class BadColumn(TypedDict):
    """A column that holds NaN or infinity: in how many rows, and where first."""

    column: str
    rows: int
    first_episode: int
    first_step: int


class ColumnFacts(Range):
    """What a card says of the columns of a field; of those with a fault the first are named."""

    columns: int
    constant_columns: int
    constant: list[str]
    not_finite_rows: int
    not_finite_columns: int
    not_finite: list[BadColumn]


class ColumnCounts:
    """Running counts of each number of a step's row, so that the rows need not stay in memory."""

    def __init__(self, parts: tuple[Leaf, ...] = (), bounds: Bounds | None = None):
        """
        Args:
            parts: what a row consists of; none for a lone number.
        """
        self.parts, self.bounds = parts, bounds
        size = sum(leaf.size for leaf in parts) if parts else 1
        self.rows = 0
        self.is_wide = False  # holds what float32 would round
        self.low = np.full(size, np.inf)  # of the finite values
        self.high = np.full(size, -np.inf)
        self.bad_rows = 0
        self.bad = np.zeros(size, np.int64)
        self.first_bad = np.full(size, -1)  # the row, counted from the first of the data set
        self.outside = np.zeros(size, np.int64)
        self.at_bound = np.zeros(size, np.int64)

    def add(self, rows: np.ndarray) -> None:
        """Count the next rows."""
        columns = [leaf.of(rows) for leaf in self.parts] or [rows]
        columns = [column.reshape(len(rows), -1) for column in columns]
        flat = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
        self.is_wide |= not np.can_cast(flat.dtype, np.float32)
        self._add_bad(flat)
        with np.errstate(invalid="ignore"):  # comparisons with NaN
            low, high = flat.min(axis=0), flat.max(axis=0)
            if not np.isfinite(low).all() or not np.isfinite(high).all():
                finite = np.isfinite(flat)
                low = np.where(finite, flat, np.inf).min(axis=0)
                high = np.where(finite, flat, -np.inf).max(axis=0)
            self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
            if self.bounds is not None:
                self._add_bounded(flat, *self.bounds)
        self.rows += len(flat)

    def _add_bad(self, flat: np.ndarray) -> None:
        if not np.issubdtype(flat.dtype, np.floating):
            return
        with np.errstate(invalid="ignore", over="ignore"):
            if np.isfinite(flat.sum(dtype=np.float64)):  # one pass, no copy: the common case
                return
        bad = ~np.isfinite(flat)
        self.bad_rows += int(bad.any(axis=1).sum())
        self.bad += bad.sum(axis=0)
        new = bad.any(axis=0) & (self.first_bad < 0)
        self.first_bad[new] = self.rows + bad.argmax(axis=0)[new]

    def _add_bounded(self, flat: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        edge = EDGE * (high - low) / 2
        at_bound = (flat <= low + edge) | (flat >= high - edge)
        self.at_bound += at_bound.sum(axis=0)
        tolerance = 1e-5 * (high - low)  # rounding to float32 may carry a clipped value past it
        self.outside += ((flat < low - tolerance) | (flat > high + tolerance)).sum(axis=0)

    def name(self, column: int) -> str:
        """Name a column by its index within a row: 3, or 1,2 of a matrix; empty for a lone number.

        Of several parts, behind the part's name: position/3.
        """
        for leaf in self.parts:
            if column < leaf.size:
                index = np.unravel_index(column, leaf.shape) if leaf.shape else ()
                return "/".join((*leaf.path, *([",".join(map(str, index))] if index else [])))
            column -= leaf.size
        return ""

    def facts(self, locate: Locate) -> ColumnFacts:
        """Sum up what was counted."""
        constant = self.constant()
        return {
            **self.range(),
            "columns": len(self.low),
            "constant_columns": len(constant),
            "constant": [self.name(column) for column in constant[:MAX_NAMED]],
            "not_finite_rows": self.bad_rows,
            "not_finite_columns": int((self.bad > 0).sum()),
            "not_finite": self._not_finite(locate),
        }

    def constant(self) -> list[int]:
        """List the columns that a normaliser cannot scale, for they do not vary."""
        rounding = NOISE if self.is_wide else FEW_FLOATS
        still = self.high - self.low <= np.maximum(SMALLEST_SPREAD, rounding * np.abs(self.low))
        seen = self.low <= self.high  # not so where no value is finite
        return np.flatnonzero(still & seen).tolist()

    def range(self) -> Range:
        """Find the lowest and the highest finite value."""
        low, high = float(self.low.min()), float(self.high.max())
        return Range(low=low, high=high) if low <= high else Range(low=None, high=None)

    def _not_finite(self, locate: Locate) -> list[BadColumn]:
        found: list[BadColumn] = []
        worst = np.argsort(-self.bad, kind="stable")[: int((self.bad > 0).sum())]
        for column in worst[:MAX_NAMED].tolist():
            episode, step = locate(int(self.first_bad[column]))
            found.append(
                BadColumn(
                    column=self.name(column),
                    rows=int(self.bad[column]),
                    first_episode=episode,
                    first_step=step,
                )
            )
        return found

    def saturation(self) -> list[float] | None:
        """Find the share of entries at a bound, by column; None where nothing bounds them."""
        return None if self.bounds is None else (self.at_bound / max(self.rows, 1)).tolist()


def box_bounds(space: gymnasium.Space) -> Bounds | None:
    """Find the lowest and the highest value of each number, where the space limits all of them."""
    if not isinstance(space, spaces.Box) or not space.is_bounded():
        return None
    return space.low.reshape(-1).astype(np.float64), space.high.reshape(-1).astype(np.float64)
