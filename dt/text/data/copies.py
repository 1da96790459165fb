"""Copies and near copies among texts, found by min-hashes of their words' pairs (Broder 1997)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

BANDS, HASHES_A_BAND = 20, 3  # texts that share 0.7 of their pairs meet in some band at 0.9998
MOST_IN_BUCKET = 50  # texts of a bucket that a text is compared with
PRIME = np.uint64((1 << 61) - 1)
WORD = re.compile(r"\w+")


def normal(text: str) -> str:
    """Spell a text so that copies are alike: words alone, in small letters."""
    return " ".join(WORD.findall(text.lower()))


def first_of_each(texts: Sequence[str]) -> Int[np.ndarray, " n"]:
    """Number the texts that are no copies of one before them."""
    seen: dict[str, int] = {}
    for number, text in enumerate(texts):
        seen.setdefault(normal(text) or text, number)
    return np.array(sorted(seen.values()))


def like_one_of(texts: Sequence[str], others: Sequence[str], share: float) -> Int[np.ndarray, " n"]:
    """Number the texts that have a near copy among the others.

    Args:
        share: of the pairs of words of two texts together that both have (Jaccard's).
    """
    own, theirs = [_pairs(text) for text in texts], [_pairs(text) for text in others]
    if not texts or not others:
        return np.zeros(0, int)
    buckets: dict[tuple[int, int], list[int]] = {}
    for number, bands in enumerate(_bands(theirs)):
        for band, key in enumerate(bands):
            buckets.setdefault((band, int(key)), []).append(number)
    found = []
    for number, bands in enumerate(_bands(own)):
        near = {
            other
            for band, key in enumerate(bands)
            for other in buckets.get((band, int(key)), [])[:MOST_IN_BUCKET]
        }
        if any(_jaccard(own[number], theirs[other]) >= share for other in near):
            found.append(number)
    return np.array(found, int)


def _pairs(text: str) -> frozenset[int]:
    """Hash a text's pairs of words that stand side by side; of one word, itself."""
    words = normal(text).split() or [text]
    pairs = list(zip(words, words[1:], strict=False)) or [(words[0], "")]
    return frozenset(_hash(" ".join(pair)) for pair in pairs)


def _hash(text: str) -> int:
    """Hash a text alike in every process, which Python's own hash does not."""
    value = 14695981039346656037
    for byte in text.encode():
        value = ((value ^ byte) * 1099511628211) & 0xFFFFFFFFFFFFFFFF
    return value >> 32


def _bands(sets: Sequence[frozenset[int]]) -> Int[np.ndarray, "n b"]:
    """Fold each set's min-hashes to one number a band."""
    rng = np.random.default_rng(0)
    count = BANDS * HASHES_A_BAND
    factor = rng.integers(1, 1 << 29, count, dtype=np.uint64)
    shift = rng.integers(0, 1 << 61, count, dtype=np.uint64)
    smallest = np.empty((len(sets), count), np.uint64)
    for row, members in enumerate(sets):
        values = np.fromiter(members, np.uint64, len(members))
        smallest[row] = ((values[:, None] * factor + shift) % PRIME).min(axis=0)
    folded = smallest.reshape(len(sets), BANDS, HASHES_A_BAND)
    weights = np.array([1, 1_000_003, 998_244_353], np.uint64)
    return ((folded * weights).sum(axis=2) & np.uint64(0x7FFFFFFFFFFFFFFF)).astype(np.int64)


def _jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    return len(one & other) / len(one | other)
