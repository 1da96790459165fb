"""Pairs that a reward model is tried on: accuracy with interval, over ratios, and the hard ones.

Accuracy over the ratio of scores, at most five pairs a post, and pairs where the later comment won
are what the authors of SHP ask for (Ethayarajh et al. 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from dt.evaluation.intervals import LEVEL, NUM_RESAMPLES
from dt.text.data.posts import Pairs, Posts
from dt.text.measures import Measured

MOST_PAIRS = 5  # of a post
RATIOS = (1.0, 1.5, 2.0, 3.0, 5.0, 10.0)  # at least so many times the score of the other
SAME_LENGTH = 1.1  # times as long at most, in characters
SAME_TIME = 0.1  # this share of the pairs lies nearest in time


@dataclass(frozen=True)
class Accuracy:
    """How often the text that people preferred scores higher; 0.5 is chance."""

    name: str
    accuracy: Measured
    """Not known where there is no such pair."""
    pairs: int


def pairs_of_posts(posts: Posts) -> Pairs | None:
    """Pair posts of one group whose scores differ; None where there are none.

    Posts without groups are all of one. Which are paired depends on the posts alone.
    """
    rng = np.random.default_rng(0)
    groups = np.array(posts.groups) if posts.groups else np.zeros(len(posts), int)
    left = np.full(len(posts), MOST_PAIRS)
    found: dict[tuple[int, int], None] = {}
    for first in rng.permutation(len(posts)):
        others = np.flatnonzero(groups == groups[first])
        for second in rng.permutation(others)[: 2 * MOST_PAIRS]:
            one, other = int(first), int(second)
            differ = posts.scores[one] != posts.scores[other]
            if not differ or not left[one] or not left[other] or (other, one) in found:
                continue
            if (one, other) not in found:
                found[one, other] = None
                left[[one, other]] -= 1
    if not found:
        return None
    both = np.array(list(found))
    wins = posts.scores[both[:, 0]] > posts.scores[both[:, 1]]
    chosen, rejected = (np.where(wins, both[:, i], both[:, 1 - i]) for i in (0, 1))
    low, high = posts.scores[rejected], posts.scores[chosen]
    times = posts.times
    return Pairs(
        name=posts.name,
        prompts=tuple(posts.prompt(int(i)) for i in chosen),
        chosen=tuple(posts.texts[int(i)] for i in chosen),
        rejected=tuple(posts.texts[int(i)] for i in rejected),
        ratios=high / low if (posts.scores > 0).all() else None,
        later=None if times is None else times[chosen] - times[rejected],
        groups=tuple(posts.groups[int(i)] if posts.groups else str(i) for i in chosen),
    )


def accuracies(pairs: Pairs, margin: Float[np.ndarray, " P"]) -> tuple[Accuracy, ...]:
    """Count how often the chosen text scored higher: of all pairs, and of some kinds.

    Args:
        margin: the chosen one's score less the other's; 0 counts as half.
    """
    right = np.where(margin > 0, 1.0, np.where(margin < 0, 0.0, 0.5))
    _, groups = np.unique(pairs.groups or np.arange(len(pairs)), return_inverse=True)
    every = np.ones(len(pairs), bool)
    kinds: list[tuple[str, Bool[np.ndarray, " P"]]] = [("all pairs", every)]
    if pairs.ratios is not None:
        kinds += [
            (f"score at least {ratio:g} times the other's", pairs.ratios >= ratio)
            for ratio in RATIOS[1:]
        ]
    if pairs.later is not None:
        kinds.append(("the later one won", pairs.later > 0))
    kinds.append(matched(pairs))
    return tuple(
        Accuracy(name, _accuracy(right[kept], groups[kept]), int(kept.sum()))
        for name, kept in kinds
    )


def matched(pairs: Pairs) -> tuple[str, Bool[np.ndarray, " P"]]:
    """Find pairs of like length and time, where neither tells who won: the hard test."""
    lengths = np.array(
        [[len(a), len(b)] for a, b in zip(pairs.chosen, pairs.rejected, strict=True)]
    )
    kept = lengths.max(axis=1) <= SAME_LENGTH * lengths.min(axis=1)
    if pairs.later is None:
        return "matched in length (no times are known)", kept
    apart = np.abs(pairs.later)
    return "matched in length and time", kept & (apart <= np.quantile(apart, SAME_TIME))


def _accuracy(right: Float[np.ndarray, " n"], groups: Int[np.ndarray, " n"]) -> Measured:
    """Estimate a share and its interval by a bootstrap over groups, whose pairs share texts."""
    if not len(right):
        return Measured(None, None)
    _, groups = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(groups, right), np.bincount(groups)
    rng = np.random.default_rng(0)
    draws = (rng.integers(0, len(sums), len(sums)) for _ in range(NUM_RESAMPLES))
    shares = [sums[drawn].sum() / counts[drawn].sum() for drawn in draws]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(shares, [tail, 1 - tail])
    return Measured(float(right.mean()), (float(low), float(high)))
