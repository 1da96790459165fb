"""The exact optimum, by trying everything: a grid of one or two numbers, or all tokens."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from dt.steering.problem import OWN, Problem, Tokens, Vectors
from dt.steering.search.found import Best

PART = 1024  # candidates that are scored at once


def size_of(space: Vectors | Tokens, levels: int, most: int | None = None) -> int:
    """Count the candidates of a sweep.

    Args:
        levels: of the grid of a number.
        most: edits of tokens; None: all positions may be edited.
    """
    if isinstance(space, Vectors):
        return levels**space.size
    most = space.positions if most is None else min(most, space.positions)
    return sum(math.comb(space.positions, k) * space.size**k for k in range(most + 1))


def sweep(problem: Problem, levels: int, most: int | None = None) -> Best:
    """Score every candidate; those of numbers on an even grid, ends included.

    Raises:
        ValueError: for more than two numbers, which no grid can cover.
    """
    space, best = problem.space, Best()
    if isinstance(space, Vectors):
        if space.size > 2:
            raise ValueError(
                f"--method sweep covers one or two numbers, and {space.name} has {space.size}; "
                f"take gradient or cem"
            )
        grid = space.grid(levels)
        best.offer(problem.values(grid), grid)
        return best
    for candidates in in_parts(space, most):
        shown = np.broadcast_to(candidates, (problem.count, *candidates.shape))
        best.offer(problem.values(shown), shown)
    return best


def in_parts(space: Tokens, most: int | None = None, least: int = 0) -> Iterator[np.ndarray]:
    """List every choice of tokens with so many edits, (N, P), a part at a time.

    Args:
        most, least: edits; None: up to all positions.
    """
    rows: list[tuple[int, ...]] = []
    most = space.positions if most is None else min(most, space.positions)
    for count in range(least, most + 1):
        for places in itertools.combinations(range(space.positions), count):
            for tokens in itertools.product(range(space.size), repeat=count):
                row = [OWN] * space.positions
                for place, token in zip(places, tokens, strict=True):
                    row[place] = token
                rows.append(tuple(row))
                if len(rows) == PART:
                    yield np.array(rows)
                    rows = []
    if rows:
        yield np.array(rows)
