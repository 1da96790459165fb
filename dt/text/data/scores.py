"""Scores as returns: the units in which a model is told a vote, and a person asks for one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dt.config.text import Transform
from dt.text.data.posts import Posts

KNOTS = 101  # percentiles that a quantile is read off
TIME_BINS = 20  # equally full stretches of time, whose mean rank is what the time lets expect


@dataclass(frozen=True)
class ScoreScale:
    """Raw scores -> the transform's values -> the model's units, of mean 0 and deviation 1."""

    transform: Transform
    mean: float
    """Of the transformed scores."""
    deviation: float
    knots: tuple[float, ...] = ()
    """The raw scores' percentiles 0 to 100, of the quantile transform."""

    def transformed(self, raw: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Transform raw scores; of adjusted ranks these are what `adjusted_ranks` gives."""
        if self.transform == "log1p":
            return np.log1p(raw)
        if self.transform == "quantile":
            return _shares(raw, np.array(self.knots))
        return raw

    def raw(self, transformed: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Undo `transformed`."""
        if self.transform == "log1p":
            return np.expm1(transformed)
        if self.transform == "quantile":
            return np.interp(transformed, np.linspace(0, 1, KNOTS), self.knots)
        return transformed

    def to_model(self, transformed: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Turn transformed scores into the model's units."""
        return (transformed - self.mean) / self.deviation


def scaled(posts: Posts, transform: Transform) -> tuple[ScoreScale, Float[np.ndarray, " P"]]:
    """Fit the scale of posts' scores.

    Returns:
        The scale, and the transformed score of each post.

    Raises:
        ValueError: for scores that are all the same, or that the transform is not made for.
    """
    scores, name = posts.scores, posts.name
    if np.ptp(scores) == 0:
        raise ValueError(
            f"{name}: every post scores {scores[0]:g}, so there is nothing to ask for; name "
            f"another column with --text.score"
        )
    knots: tuple[float, ...] = ()
    if transform == "log1p" and scores.min() <= -1:
        raise ValueError(
            f"{name}: a score is {scores.min():g}, and log1p takes those above -1; take "
            f"--text.transform quantile"
        )
    if transform == "quantile":
        knots = tuple(np.percentile(scores, np.linspace(0, 100, KNOTS)).tolist())
    if transform == "adjusted":
        values = adjusted_ranks(posts)
    else:
        values = ScoreScale(transform, 0.0, 1.0, knots).transformed(scores)
    return ScoreScale(transform, float(values.mean()), float(values.std()), knots), values


def adjusted_ranks(posts: Posts) -> Float[np.ndarray, " P"]:
    """Rank each post within its group, less what its time lets expect, as a deviation from 0.

    Early comments get more votes than late ones, and posts of a busy thread more than of a quiet
    one; what is left is nearer to the text. Without groups all posts are one; without times
    nothing is expected.

    Raises:
        ValueError: where every group has one post, so that there are no ranks.
    """
    from scipy.stats import rankdata

    groups = np.array(posts.groups) if posts.groups else np.zeros(len(posts), int)
    _, numbers = np.unique(groups, return_inverse=True)
    ranks = np.full(len(posts), 0.5)
    expected = np.full(len(posts), 0.5)
    alone = True
    places = np.full(len(posts), 0.5)
    for members in _members(numbers):
        if len(members) > 1:
            alone = False
            ranks[members] = (rankdata(posts.scores[members]) - 0.5) / len(members)
            if posts.times is not None:
                places[members] = (rankdata(posts.times[members]) - 0.5) / len(members)
    if alone:
        raise ValueError(
            f"{posts.name}: every group has one post, so none has a rank within it; name another "
            f"column with --text.group, or take another --text.transform"
        )
    if posts.times is not None:
        order = np.minimum((places * TIME_BINS).astype(int), TIME_BINS - 1)
        for number in range(TIME_BINS):
            if (order == number).any():
                expected[order == number] = ranks[order == number].mean()
    left = ranks - expected
    return left / (left.std() or 1.0)


def _members(numbers: np.ndarray) -> list[np.ndarray]:
    """List the posts of each group."""
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)


def _shares(raw: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Share of posts below a score; of tied ones, the middle."""
    grid = np.linspace(0, 1, len(knots))
    low = np.searchsorted(knots, raw, side="left")
    high = np.searchsorted(knots, raw, side="right")
    tied = high > low
    between = np.interp(raw, knots, grid)
    last = len(knots) - 1
    middle = (grid[np.minimum(low, last)] + grid[np.clip(high - 1, 0, last)]) / 2
    return np.where(tied, middle, between)
