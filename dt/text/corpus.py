"""The posts of a run: read, their scores transformed, dealt into parts, and looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from dt.config.text import GRAMMAR, TextConfig
from dt.files import sha256_of
from dt.text.data.confounds import Confounds, confounds_of
from dt.text.data.grammar import sentences
from dt.text.data.posts import Posts
from dt.text.data.read import read_posts
from dt.text.data.scores import ScoreScale, scaled
from dt.text.data.splits import SPLIT, Split, split_posts

SHUFFLE = 0x5C04E  # with the seed, of the random numbers that deal scores out anew


@dataclass(frozen=True, eq=False)
class Corpus:
    """Posts, what the model is told of their scores, and which part each is in."""

    posts: Posts
    scale: ScoreScale
    values: Float[np.ndarray, " P"]
    """Transformed scores."""
    split: Split
    confounds: Confounds
    sha256: str
    """Of the file; empty for what is made up."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, in sentences."""
        return (*self.posts.notes, *self.split.notes)

    @property
    def percentiles(self) -> tuple[float, ...]:
        """Percentiles 0 to 100 of the transformed scores."""
        return tuple(np.percentile(self.values, np.arange(101)).tolist())

    def describe(self) -> list[str]:
        """Say in lines what there is, and what its score goes along with."""
        split, lengths = self.split, self.posts.lengths
        p5, p50, p95 = np.percentile(self.posts.scores, [5, 50, 95])
        return [
            f"{self.posts.name}: {len(self.posts)} posts of {np.median(lengths):.0f} characters "
            f"(median), scores {p5:.4g} (p5), {p50:.4g} (p50) to {p95:.4g} (p95); "
            f"{len(split.generator)} for the generator, {len(split.judge)} for the judge, "
            f"{len(split.test)} held out",
            *self.confounds.lines(),
            *(f"note: {note}" for note in self.notes),
        ]


def load_corpus(config: TextConfig) -> Corpus:
    """Read or make up the posts that the configuration names.

    Raises:
        ValueError: for a source that is not named or cannot be used, in one line.
    """
    source = config.data.source
    if not source:
        raise ValueError("no posts are named; name a file with --data FILE, or --data grammar")
    if source == GRAMMAR:
        posts = sentences()
        # Sentences that come twice are as likely as the grammar has it, and no copies.
        split, sha256 = _dealt(posts, config), ""
    else:
        posts = read_posts(config.text, source)
        sha256 = sha256_of(Path(source))
        split = split_posts(posts, config.text)
    scale, values = scaled(posts, config.text.transform)
    return Corpus(posts, scale, values, split, confounds_of(posts, values), sha256)


def told_scores(corpus: Corpus, config: TextConfig) -> Float[np.ndarray, " G"]:
    """Give what the generator is told of its posts' scores, transformed; dealt anew if asked."""
    values = corpus.values[corpus.split.generator]
    if config.text.shuffle_scores:
        return np.random.default_rng([SHUFFLE, config.seed]).permutation(values)
    return values


def _dealt(posts: Posts, config: TextConfig) -> Split:
    order = np.random.default_rng(SPLIT).permutation(len(posts))
    ends = np.cumsum([config.text.test_fraction, config.text.judge_fraction]) * len(posts)
    test, judge, generator = np.split(order, ends.astype(int))
    return Split(np.sort(generator), np.sort(judge), np.sort(test))
