"""Three parts of the posts: what the generator learns from, what the judge does, and the test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from dt.config.text import PostsConfig
from dt.text.data.copies import first_of_each, like_one_of
from dt.text.data.posts import Posts

SPLIT = 0x7E87  # of the random numbers that deal posts out; the same for every seed of training
FEWEST = 8  # posts of a part; with fewer no slope is known


@dataclass(frozen=True, eq=False)
class Split:
    """Numbers of the posts of each part; no group and no near copy lies in two of them."""

    generator: Int[np.ndarray, " G"]
    judge: Int[np.ndarray, " J"]
    test: Int[np.ndarray, " T"]
    notes: tuple[str, ...] = ()


def split_posts(posts: Posts, config: PostsConfig) -> Split:
    """Deal posts out by group, leave copies out, and near copies that two parts would share.

    The test keeps what it has; the judge loses what is like the test, the generator what is like
    either. Which part a post is in depends on the data and the fractions alone.

    Raises:
        ValueError: where one group holds all posts, or a part would have too few.
    """
    first = first_of_each(posts.texts)
    notes = []
    if len(first) < len(posts):
        notes.append(f"{len(posts) - len(first)} copies of other posts are left out")
    groups = np.array([posts.groups[i] for i in first]) if posts.groups else first.astype(str)
    names, numbers = np.unique(groups, return_inverse=True)
    if posts.groups and len(names) < 3:
        raise ValueError(
            f"{posts.name}: --text.group {config.group!r} puts all posts into {len(names)} "
            f"group(s), and generator, judge and test need groups of their own; name another "
            f"column, or none"
        )
    parts = _dealt(numbers, len(names), config)
    members = [first[parts == part] for part in range(3)]  # test, judge, generator
    kept = [members[0]]
    for own in members[1:]:
        others = [posts.texts[i] for part in kept for i in part]
        like = like_one_of([posts.texts[i] for i in own], others, config.near)
        if len(like):
            notes.append(f"{len(like)} near copies of posts of another part are left out")
        kept.append(np.delete(own, like))
    test, judge, generator = kept
    wanted = {"test": test, "generator": generator}
    if config.judge_fraction:
        wanted["judge"] = judge
    for name, part in wanted.items():
        if len(part) < FEWEST:
            raise ValueError(
                f"{posts.name}: {len(part)} post(s) are left for the {name}, and {FEWEST} are the "
                f"fewest; give more posts, or other fractions"
            )
    return Split(generator, judge, test, tuple(notes))


def _dealt(numbers: np.ndarray, num_groups: int, config: PostsConfig) -> np.ndarray:
    """Number each post's part: whole groups, until a part has its share of the posts."""
    order = np.random.default_rng(SPLIT).permutation(num_groups)
    sizes = np.bincount(numbers, minlength=num_groups)[order]
    before = (np.cumsum(sizes) - sizes / 2) / sizes.sum()  # a group's middle decides
    bounds = [config.test_fraction, config.test_fraction + config.judge_fraction]
    of_group = np.empty(num_groups, int)
    of_group[order] = np.searchsorted(bounds, before, side="right")
    return of_group[numbers]
