"""Gradient ascent with restarts, kept inside the space by projection."""

from __future__ import annotations

import numpy as np
import optax

from dt.steering.problem import Problem, Vectors
from dt.steering.search.found import Best


def gradient(
    problem: Problem, rng: np.random.Generator, restarts: int, steps: int, rate: float = 0.2
) -> Best:
    """Climb from the context's own input and from `restarts` - 1 drawn ones, and keep the best.

    Adam (Kingma and Ba 2015) in units of the space's own size, its rate falling to 0 by a cosine.
    A single number starts from evenly spread places, so that no slope hides a whole part of it.

    Raises:
        ValueError: for tokens, which have no slope to climb.
    """
    space = problem.space
    if not isinstance(space, Vectors):
        raise ValueError("--method gradient is for numbers; tokens take greedy, beam or sweep")
    at = space.sample(rng, restarts)
    if space.size == 1 and restarts > 1:
        at = space.grid(2 * restarts + 1)[:, 1::2]
    at[:, 0] = space.start
    scale, best = space.scale, Best()
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))
    state = optimizer.init(at)
    for _ in range(steps):
        values, slopes = problem.slopes(at)
        best.offer(values, at)
        updates, state = optimizer.update(-slopes * scale, state)
        at = space.project(at + np.asarray(updates) * scale)
    best.offer(problem.values(at), at)
    return best
