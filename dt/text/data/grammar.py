"""Sentences of a small grammar whose vote is the sum of their words' weights.

The distribution of the next word, given the words so far and the vote, can be computed: a model
that has learned it is compared with the truth, and not with samples alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from dt.text.data.posts import Posts

NUM_SENTENCES = 60_000
END = ""  # the word that ends a sentence

ADJECTIVES = {
    "splendid": 3,
    "clever": 2,
    "nice": 1,
    "long": 0,
    "slow": -1,
    "dull": -2,
    "awful": -3,
}
NOUNS = {"film": 0, "plot": 0, "cast": 0, "song": 0, "joke": 0}
VERBS = {"shines": 2, "works": 1, "ends": 0, "drags": -1, "fails": -2}
ADVERBS = {"often": 0, "well": 1, "badly": -1}


@dataclass(frozen=True)
class Step:
    """A word that may come next: how likely, what it adds to the vote, and where it leads."""

    word: str
    chance: float
    weight: int
    to: int


def _steps(words: dict[str, int], chance: float, to: int) -> list[Step]:
    """Share a chance among words, those in the middle twice as likely as those at the ends."""
    shares = np.array([2.0 if abs(weight) <= 1 else 1.0 for weight in words.values()])
    shares *= chance / shares.sum()
    items = zip(words.items(), shares.tolist(), strict=True)
    return [Step(word, share, weight, to) for (word, weight), share in items]


def _clause(first: int, after: int | None) -> list[list[Step]]:
    """Make the six states of 'the [adjective] noun verb [adverb]', and what may follow it."""
    more = [] if after is None else [Step("and", 0.3, 0, after)]
    ends = [Step(END, 0.7 if more else 1.0, 0, -1)]
    shorter = [Step(step.word, 0.5 * step.chance, 0, step.to) for step in [*more, *ends]]
    return [
        [Step("the", 1.0, 0, first + 1)],
        [*_steps(ADJECTIVES, 0.8, first + 2), *_steps(NOUNS, 0.2, first + 3)],
        _steps(NOUNS, 1.0, first + 3),
        _steps(VERBS, 1.0, first + 4),
        [*_steps(ADVERBS, 0.5, first + 5), *shorter],
        [*more, *ends],
    ]


STATES: tuple[tuple[Step, ...], ...] = tuple(map(tuple, [*_clause(0, 6), *_clause(6, None)]))
WEIGHTS = {**ADJECTIVES, **NOUNS, **VERBS, **ADVERBS}
MOST = 12  # votes lie within +-MOST


def vote(text: str) -> float:
    """Sum a sentence's weights; words of no grammar add nothing."""
    return float(sum(WEIGHTS.get(word, 0) for word in text.split()))


def votes(texts: Sequence[str]) -> Float[np.ndarray, " n"]:
    """Give the vote of each text: the judge of the grammar, who is never wrong."""
    return np.array([vote(text) for text in texts])


@cache
def _chances() -> Float[np.ndarray, "S W"]:
    """Tabulate the chance that what follows a state adds w to the vote; column MOST is w = 0."""
    table = np.zeros((len(STATES), 2 * MOST + 1))
    for state in reversed(range(len(STATES))):  # a step leads to a later state
        for step in STATES[state]:
            rest = np.zeros(2 * MOST + 1)
            if step.to == -1:
                rest[MOST] = 1.0
            else:
                rest = table[step.to]
            table[state] += step.chance * np.roll(rest, step.weight)
    return table


def next_words(words: Sequence[str], asked: float) -> dict[str, float]:
    """Compute the chance of each next word, given the words so far and the vote of the whole.

    Raises:
        ValueError: for words that no sentence with this vote begins with.
    """
    state, left = 0, round(asked)
    for word in words:
        step = next((step for step in STATES[state] if step.word == word), None)
        if step is None or step.to == -1:
            raise ValueError(f"no sentence goes on with {word!r} after {' '.join(words)!r}")
        state, left = step.to, left - step.weight
    found = {step.word: step.chance * _rest(step, left) for step in STATES[state]}
    total = sum(found.values())
    if total == 0:
        raise ValueError(f"no sentence that begins {' '.join(words)!r} has the vote {asked:g}")
    return {word: chance / total for word, chance in found.items() if chance}


def _rest(step: Step, left: int) -> float:
    """Find the chance that a step and what follows it add `left`."""
    left -= step.weight
    if step.to == -1:
        return float(left == 0)
    return float(_chances()[step.to, left + MOST]) if abs(left) <= MOST else 0.0


def sentences(count: int = NUM_SENTENCES, seed: int = 0) -> Posts:
    """Draw sentences with their votes; copies among them are as many as chance makes."""
    rng = np.random.default_rng(seed)
    reached = [np.cumsum([step.chance for step in steps]).tolist() for steps in STATES]
    texts = []
    for luck in rng.random((count, len(STATES))).tolist():
        words: list[str] = []
        state = 0
        while state != -1:
            place = bisect_right(reached[state], luck[state])
            step = STATES[state][min(place, len(STATES[state]) - 1)]  # sums may end below 1
            words += [step.word] if step.word else []
            state = step.to
        texts.append(" ".join(words))
    return Posts(name="grammar", texts=tuple(texts), scores=votes(texts))
