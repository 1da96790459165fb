"""What a reward model learns from, as rows of tokens: pairs of answers, or texts with scores.

Axes: N rows, S texts of a row (2 of a pair, the chosen one first; else 1), T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from dt.spaces.arrays import AnyArray
from dt.text.data.posts import Pairs, Posts
from dt.text.data.tokenizers import Tokenizer
from dt.text.rows import tokenised


class RewardRows(NamedTuple):
    """N rows, padded on the right; NumPy or JAX arrays."""

    tokens: AnyArray  # (N, S, T) int32
    begins: AnyArray  # (N, S) int32, the place of a text's first own token
    lengths: AnyArray  # (N, S) int32, tokens that are no padding
    targets: AnyArray  # (N,) float32, scores in the model's units; zeros of pairs


class RewardBatch(NamedTuple):
    """B rows of a batch."""

    tokens: AnyArray  # (B, S, T) int32
    own: AnyArray  # (B, S, T) bool, tokens of the text itself
    targets: AnyArray  # (B,) float32
    mask: AnyArray  # (B,) bool, all True


def rows_of_pairs(pairs: Pairs, tokenizer: Tokenizer, longest: int) -> tuple[RewardRows, int]:
    """Lay pairs out as rows; and count the answers that were cut."""
    return _laid((pairs.chosen, pairs.rejected), pairs.prompts, None, tokenizer, longest)


def rows_of_posts(
    posts: Posts, targets: Float[np.ndarray, " P"], tokenizer: Tokenizer, longest: int
) -> tuple[RewardRows, int]:
    """Lay posts out as rows; and count those that were cut.

    Args:
        targets: scores in the model's units.
    """
    return _laid((posts.texts,), posts.prompts, targets, tokenizer, longest)


def _laid(
    texts: Sequence[Sequence[str]],
    prompts: Sequence[str],
    targets: Float[np.ndarray, " N"] | None,
    tokenizer: Tokenizer,
    longest: int,
) -> tuple[RewardRows, int]:
    count = len(texts[0])
    if targets is None:
        targets = np.zeros(count)
    parts, cut = [], 0
    for each in texts:
        # The whole row is read here, its last token too.
        rows, too_long = tokenised(each, prompts, targets, tokenizer, longest - 1)
        parts.append(rows)
        cut += too_long
    width = max(part.tokens.shape[1] for part in parts)
    padded = [np.pad(part.tokens, [(0, 0), (0, width - part.tokens.shape[1])]) for part in parts]
    found = RewardRows(
        np.stack(padded, axis=1),
        np.stack([part.begins for part in parts], axis=1),
        np.stack([part.lengths for part in parts], axis=1),
        targets.astype(np.float32),
    )
    return found, cut


def reward_batch(rows: RewardRows, numbers: AnyArray) -> RewardBatch:
    """Take these rows as a batch; the same code for NumPy and for JAX arrays."""
    tokens = rows.tokens[numbers]
    place = np.arange(rows.tokens.shape[-1])
    begins, lengths = rows.begins[numbers][..., None], rows.lengths[numbers][..., None]
    own = (place >= begins) & (place < lengths)
    return RewardBatch(tokens, own, rows.targets[numbers], own[:, 0, 0] | True)
