"""Searches of tokens, one position after the other: by the gradient, or by a beam."""

from __future__ import annotations

import numpy as np

from dt.steering.problem import OWN, Problem, Tokens
from dt.steering.search.found import Best

TOP = 16  # tokens of a position that the gradient proposes


def greedy(
    problem: Problem,
    rng: np.random.Generator,
    budget: int,
    width: int = 32,
    most: int | None = None,
) -> Best:
    """Search by greedy coordinate gradient (Zou et al. 2023, arXiv 2307.15043).

    Each round takes the gradient by one-hot tokens, draws `width` changes of one token each among
    those that it proposes for every position, scores them, and keeps the best if it is better. The
    gradient is a poor judge of single tokens: of the candidates half are drawn from all tokens.

    Args:
        budget: passes for each problem, a gradient counting three.
        most: edits in all; None: all positions.

    Raises:
        ValueError: for numbers.
    """
    space = problem.space
    if not isinstance(space, Tokens):
        raise ValueError("--method greedy is of tokens; numbers take gradient or cem")
    most = space.positions if most is None else most
    rows = np.arange(problem.count)
    current = np.full((problem.count, space.positions), OWN)
    best = Best()
    best.offer(problem.values(current[:, None]), current[:, None])
    budget -= 1
    while budget >= 4:
        _, slopes = problem.slopes(current[:, None])  # (Q, 1, P, A)
        count = min(width, budget - 3)
        tried = _changes(space, current, slopes[:, 0], rng, count, most)
        values = problem.values(tried)
        best.offer(values, tried)
        current = best.candidate
        budget -= 3 + count
    del rows
    return best


def _changes(
    space: Tokens,
    current: np.ndarray,
    slopes: np.ndarray,
    rng: np.random.Generator,
    count: int,
    most: int,
) -> np.ndarray:
    """Draw changes of one token each, (Q, count, P)."""
    num, places = current.shape
    top = min(TOP, space.size)
    proposed = np.argsort(-slopes, axis=-1)[..., :top]  # (Q, P, top)
    rows, each = np.arange(num)[:, None], np.arange(count)[None]
    # Positions in turn, beginning anywhere, so that each has its share of the candidates.
    place = (each + rng.integers(places, size=(num, 1))) % places
    full = (current != OWN).sum(axis=1) >= most
    edited = np.argsort(current == OWN, axis=1, kind="stable")  # those that are edited first
    among = edited[rows, place % np.maximum((current != OWN).sum(axis=1), 1)[:, None]]
    place = np.where(full[:, None], among, place)
    by_slope = proposed[rows, place, rng.integers(top, size=(num, count))]
    anywhere = rng.integers(space.size, size=(num, count))
    token = np.where(rng.random((num, count)) < 0.5, by_slope, anywhere)
    tried = np.repeat(current[:, None], count, axis=1)
    tried[rows, each, place] = token
    return tried


def beam(
    problem: Problem, rng: np.random.Generator, budget: int, width: int = 4, most: int | None = None
) -> Best:
    """Fill positions in their order, keeping the `width` best beginnings.

    Each position's tokens are all tried where the budget allows, else as many drawn ones.

    Raises:
        ValueError: for numbers.
    """
    space = problem.space
    if not isinstance(space, Tokens):
        raise ValueError("--method beam is of tokens; numbers take gradient or cem")
    rounds = space.positions if most is None else min(most, space.positions)
    kept = np.full((problem.count, 1, space.positions), OWN)
    best = Best()
    best.offer(problem.values(kept), kept)
    share = max(1, (budget - 1) // rounds)
    for place in range(rounds):
        each = max(1, min(space.size, share // kept.shape[1]))
        tokens = rng.permuted(
            np.broadcast_to(np.arange(space.size), (problem.count, kept.shape[1], space.size)),
            axis=-1,
        )[..., :each]
        tried = np.repeat(kept[:, :, None], each, axis=2)
        tried[..., place] = tokens
        tried = tried.reshape(problem.count, -1, space.positions)
        values = problem.values(tried)
        best.offer(values, tried)
        order = np.argsort(-values, axis=1)[:, :width, None]
        kept = np.take_along_axis(tried, order, axis=1)
    return best
