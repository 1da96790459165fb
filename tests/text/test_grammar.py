"""Is the exact distribution of the grammar's next word that of its sentences?"""

from __future__ import annotations

import collections

import pytest

from dt.text.data.grammar import END, next_words, sentences, vote


def test_the_exact_distribution_is_that_of_the_sentences() -> None:
    posts = sentences(8_000, seed=3)
    for words, asked in (([], 2), (["the"], -3), (["the", "film", "works"], 2)):
        counts: collections.Counter[str] = collections.Counter()
        for text, score in zip(posts.texts, posts.scores, strict=True):
            own = text.split()
            if score == asked and own[: len(words)] == words:
                counts[(own[len(words) :] or [END])[0]] += 1
        total = counts.total()
        exact = next_words(words, asked)
        assert sum(exact.values()) == pytest.approx(1)
        assert set(counts) <= set(exact)
        for word, chance in exact.items():
            assert counts[word] / total == pytest.approx(chance, abs=4 / total**0.5)


def test_a_vote_is_the_sum_of_the_words() -> None:
    assert vote("the splendid film works well and the song drags") == 3 + 1 + 1 - 1
    assert next_words("the film ends and the plot ends badly".split(), -1) == {END: 1}


def test_what_no_sentence_begins_with_is_refused() -> None:
    with pytest.raises(ValueError, match="no sentence goes on with 'film'"):
        next_words(["film"], 0)
    with pytest.raises(ValueError, match="has the vote 40"):
        next_words(["the"], 40)
