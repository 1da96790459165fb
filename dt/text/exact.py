"""How far a model is from the exact conditional distribution of the grammar's next word."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from dt.text.data.grammar import END, next_words
from dt.text.data.tokenizers import Tokenizer
from dt.text.generator import ROWS, Generator

MOST_SENTENCES = 10 * ROWS


def kl_from_exact(
    generator: Generator, texts: Sequence[str], asked: Float[np.ndarray, " n"]
) -> float:
    """Average the KL divergence over the tokens of sentences, the end of each among them.

    At each place the whole distribution is compared, from the exact one to the model's.

    Args:
        texts: sentences of the grammar, drawn by it; the first of them are taken.
        asked: their votes.

    Returns:
        Nats a token.
    """
    tokenizer = generator.spec.tokenizer
    total, count = 0.0, 0
    for begin in range(0, min(len(texts), MOST_SENTENCES), ROWS):
        own = [text.split() for text in texts[begin : begin + ROWS]]
        votes = asked[begin : begin + ROWS]
        width = generator.spec.model.longest
        tokens = np.full((len(own), width), tokenizer.end, np.int32)
        for row, words in enumerate(own):
            line = [tokenizer.start, *tokenizer.encode(" ".join(words))]
            tokens[row, : len(line)] = line
        log_probs = generator.log_probs(tokens, votes)
        for row, words in enumerate(own):
            for place in range(len(words) + 1):
                exact = next_words(words[:place], votes[row])
                for word, chance in exact.items():
                    found = log_probs[row, place, _token(tokenizer, word, place)]
                    total += chance * (math.log(chance) - float(found))
                count += 1
    return total / count


def _token(tokenizer: Tokenizer, word: str, place: int) -> int:
    if word == END:
        return tokenizer.end
    (token,) = tokenizer.encode(word if place == 0 else f" {word}")
    return token
