"""Searches that draw: at random, and from a distribution that follows the best (cross-entropy)."""

from __future__ import annotations

import numpy as np

from dt.steering.problem import Problem, Tokens, Vectors
from dt.steering.search.found import Best

PART = 256  # candidates that are scored at once
ELITE = 0.1  # share of a population that the next is drawn around


def random(
    problem: Problem, rng: np.random.Generator, budget: int, most: int | None = None
) -> Best:
    """Score candidates drawn from all of the space: what every search is held against.

    Args:
        most: edits of tokens; None: all positions are drawn.
    """
    best, space = Best(), problem.space
    while budget > 0:
        count = min(budget, PART)
        if isinstance(space, Tokens):
            drawn = space.sample(rng, count, most)
        else:
            drawn = space.sample(rng, count)
        best.offer(problem.values(drawn), drawn)
        budget -= count
    return best


def cross_entropy(
    problem: Problem, rng: np.random.Generator, budget: int, population: int = 64
) -> Best:
    """Draw populations, each about the best tenth of the one before (Rubinstein 1999).

    Numbers are drawn from a Gaussian with a variance each, tokens from a distribution each.
    """
    rounds = max(1, budget // population)
    if isinstance(problem.space, Tokens):
        return _of_tokens(problem, problem.space, rng, rounds, population)
    return _of_numbers(problem, problem.space, rng, rounds, population)


def _of_numbers(
    problem: Problem, space: Vectors, rng: np.random.Generator, rounds: int, population: int
) -> Best:
    best, keep = Best(), max(2, round(ELITE * population))
    drawn = space.sample(rng, population)
    for _ in range(rounds):
        values = problem.values(drawn)
        best.offer(values, drawn)
        order = np.argsort(-values, axis=1)[:, :keep, None]
        elite = np.take_along_axis(drawn, order, axis=1)
        mean, spread = elite.mean(axis=1, keepdims=True), elite.std(axis=1, keepdims=True)
        noise = rng.normal(size=drawn.shape)
        drawn = space.project(mean + (spread + 0.01 * space.scale) * noise)
        drawn[:, 0] = mean[:, 0]
        drawn = space.project(drawn)
    return best


def _of_tokens(
    problem: Problem, space: Tokens, rng: np.random.Generator, rounds: int, population: int
) -> Best:
    best, keep = Best(), max(2, round(ELITE * population))
    shape = (problem.count, space.positions, space.size)
    shares = np.full(shape, 1.0 / space.size)
    for _ in range(rounds):
        # The largest of Gumbel-perturbed logarithms is a draw of the distribution.
        noise = rng.gumbel(size=(shape[0], population, *shape[1:]))
        drawn = (np.log(shares)[:, None] + noise).argmax(axis=-1)
        values = problem.values(drawn)
        best.offer(values, drawn)
        order = np.argsort(-values, axis=1)[:, :keep, None]
        elite = np.take_along_axis(drawn, order, axis=1)
        seen = (elite[..., None] == np.arange(space.size)).mean(axis=1)
        shares = 0.5 * shares + 0.5 * (0.95 * seen + 0.05 / space.size)
    return best
