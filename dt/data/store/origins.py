"""Choose what a column is counted from, where float32 would round off what tells its values apart.

Seconds since 1970 are multiples of 128 in float32, and a column of them would reach the model as a
few steps. Such a column is kept as its distance from an origin, subtracted in float64 (integers in
integers); every other column, and whatever is float32 already, has the origin 0 and stays as it is.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dt.spaces.arrays import Tree
from dt.spaces.parts import Parts

SMALLEST_SPREAD = 1e-12  # what varies less is the noise of a calculation, not a quantity
FEW_FLOATS = 2.0**-22  # of a value: two neighbours of float32, which rounding alone brings
ROUNDED_OFF = 1e-3  # of a column's deviation: float32 may take so much
NOISE = 1e-12  # of a value: what varies less in float64 is its own rounding
COLUMNS_AT_ONCE = 1024


def choose_origins(parts: Parts, values: Tree) -> Float[np.ndarray, " O"]:
    """Choose an origin for each number column, from the steps that come first; most are 0.

    A column that does not vary in these steps is taken to vary by about 1 later.
    """
    origins = np.zeros(parts.num_numbers)
    begin = 0
    for leaf in parts.numbers:
        column = leaf.of(values).reshape(-1, leaf.size)
        if not np.can_cast(column.dtype, np.float32):
            for first in range(0, leaf.size, COLUMNS_AT_ONCE):
                some = column[:, first : first + COLUMNS_AT_ONCE]
                place = slice(begin + first, begin + first + some.shape[1])
                origins[place] = _origins(some)
        begin += leaf.size
    return origins


def _origins(values: np.ndarray) -> np.ndarray:
    wide = values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # of columns that are refused elsewhere
        lost = np.abs(wide - wide.astype(np.float32)).max(axis=0)
        spread = wide.std(axis=0)
        noise = NOISE * np.abs(wide).max(axis=0)
        needed = lost > ROUNDED_OFF * np.where(spread > noise, spread, 1.0)
        # From a value that is there: whole numbers are then counted in whole numbers.
    return np.where(needed & np.isfinite(wide[0]), wide[0], 0.0)
