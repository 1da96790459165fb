"""What a score goes along with besides the words: length, time of posting, group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from dt.text.data.posts import Posts

MUCH = 0.25  # correlation, or root of a share, from which on a reader is warned


@dataclass(frozen=True)
class Confounds:
    """Rank correlations of the score, and the share of its ranks' variance that groups explain."""

    length: float
    """With the number of characters."""
    time: float | None
    """With the time of posting; None where none is known."""
    group: float | None
    """Share of the variance of the score's ranks between groups, less what chance would bring;
    None where there are none."""
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "length_correlation": self.length,
            "time_correlation": self.time,
            "group_share": self.group,
            "warnings": list(self.warnings),
        }

    def lines(self) -> list[str]:
        """Say it in lines."""
        time = "not known" if self.time is None else f"{self.time:+.2f}"
        group = "not known" if self.group is None else f"{100 * self.group:.0f} %"
        return [
            f"the score and length: rank correlation {self.length:+.2f}; and time: {time}; share "
            f"between groups: {group}",
            *(f"note: {warning}" for warning in self.warnings),
        ]


def confounds_of(posts: Posts, scores: Float[np.ndarray, " P"]) -> Confounds:
    """Measure what scores, transformed or raw, go along with."""
    from scipy.stats import rankdata

    ranks = rankdata(scores)

    def with_ranks_of(values: np.ndarray) -> float:
        if np.ptp(values) == 0 or np.ptp(ranks) == 0:
            return 0.0
        return float(np.corrcoef(ranks, rankdata(values))[0, 1])

    length = with_ranks_of(posts.lengths)
    time = None if posts.times is None else with_ranks_of(posts.times)
    group = _between_groups(ranks, posts.groups) if posts.groups else None
    warnings = []
    if abs(length) > MUCH:
        warnings.append("longer" if length > 0 else "shorter")
        warnings[-1] += " texts score higher: asking for a score asks for a length too"
    if time is not None and abs(time) > MUCH:
        warnings.append("the score goes along with time; --text.transform adjusted takes it out")
    if group is not None and group > MUCH**2:
        warnings.append(
            "scores differ between groups, whatever is written; --text.transform adjusted ranks "
            "within each"
        )
    return Confounds(length, time, group, tuple(warnings))


def _between_groups(ranks: np.ndarray, groups: tuple[str, ...]) -> float:
    """Estimate omega squared of a one-way analysis of variance of the ranks."""
    _, numbers = np.unique(np.array(groups), return_inverse=True)
    sizes = np.bincount(numbers)
    count, kinds = len(ranks), len(sizes)
    if kinds in (1, count):
        return 0.0
    means = np.bincount(numbers, ranks) / sizes
    between = float((sizes * (means - ranks.mean()) ** 2).sum())
    within = float(((ranks - means[numbers]) ** 2).sum()) / (count - kinds)
    total = between + within * (count - kinds)
    return max(0.0, (between - (kinds - 1) * within) / (total + within))
