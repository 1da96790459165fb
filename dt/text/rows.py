"""Texts as rows of tokens, a token a step: start, prompt, text, end; and an update's batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self, TypeAlias, TypeVar

import jax
import numpy as np
from jaxtyping import Float, Int

from dt.config.text import TextConfig
from dt.files import require_memory
from dt.parallel.mesh import Mesh, along_rows, replicated
from dt.spaces.arrays import AnyArray
from dt.text.data.tokenizers import Tokenizer

TextDraw: TypeAlias = AnyArray
"""Numbers of rows, (U, B)."""
MOST_PROMPT = 0.5  # of the longest row; what stands further back is cut off


class TextRows(NamedTuple):
    """N texts, padded on the right; NumPy or JAX arrays."""

    tokens: AnyArray  # (N, T) int32
    begins: AnyArray  # (N,) int32, the place of the first token that is learned
    lengths: AnyArray  # (N,) int32, tokens that are no padding
    returns: AnyArray  # (N,) float32, in the model's units


class AnyRows(Protocol):
    """Rows of tokens, and what else there is of each: a named tuple, its tokens first."""

    @property
    def tokens(self) -> AnyArray: ...

    def __new__(cls, *fields: AnyArray) -> Self: ...

    def __getitem__(self, fields: slice, /) -> tuple[AnyArray, ...]: ...


Rows = TypeVar("Rows", bound=AnyRows)


class TextBatch(NamedTuple):
    """B rows of a batch; at place t of L the model has seen `tokens` to t, and next comes t + 1."""

    tokens: AnyArray  # (B, L + 1) int32
    mask: AnyArray  # (B, L) bool, where what comes next is of the text and not of its prompt
    returns: AnyArray  # (B,) float32


def tokenised(
    texts: Sequence[str],
    prompts: Sequence[str],
    returns: Float[np.ndarray, " N"],
    tokenizer: Tokenizer,
    longest: int,
) -> tuple[TextRows, int]:
    """Lay texts out as rows.

    Args:
        prompts: one for each text, or none at all.
        longest: tokens that the model reads at most; what is longer is cut, its end too.

    Returns:
        The rows, and how many texts were cut.
    """
    rows, begins, cut = [], [], 0
    for number, text in enumerate(texts):
        head = prompt_tokens(prompts[number] if prompts else "", tokenizer, longest)
        row = [*head, *tokenizer.encode(text), tokenizer.end]
        cut += len(row) > longest + 1
        rows.append(row[: longest + 1])
        begins.append(len(head))
    width = max(map(len, rows))
    require_memory("the posts' tokens", 4 * len(rows) * width)
    tokens = np.full((len(rows), width), tokenizer.end, np.int32)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = row
    lengths = np.array([len(row) for row in rows], np.int32)
    found = TextRows(tokens, np.array(begins, np.int32), lengths, returns.astype(np.float32))
    return found, cut


def prompt_tokens(prompt: str, tokenizer: Tokenizer, longest: int) -> list[int]:
    """Give what stands before a text: the start, and the last tokens of its prompt."""
    tokens = tokenizer.encode(prompt) if prompt else []
    return [tokenizer.start, *tokens[-max(1, int(MOST_PROMPT * longest)) :]]


def batch_of(rows: TextRows, numbers: AnyArray) -> TextBatch:
    """Take these rows as a batch; the same code for NumPy and for JAX arrays."""
    tokens, length = rows.tokens[numbers], rows.lengths[numbers][:, None]
    after = np.arange(1, rows.tokens.shape[1])  # the place of what comes next
    mask = (after >= rows.begins[numbers][:, None]) & (after < length)
    return TextBatch(tokens, mask, rows.returns[numbers])


class TextFeed:
    """Gives the training program all rows, and for each update the numbers of its batch's.

    Epoch after epoch every row comes once, in an order that (seed, epoch) decides; a batch is a
    pure function of (seed, step).
    """

    def __init__(self, rows: Rows, holdout: Rows | None, config: TextConfig, mesh: Mesh):
        """Put all rows on the devices.

        Args:
            rows: of any kind whose first field is its tokens, padded along the last axis.
        """
        self.config, self.num_rows = config, len(rows.tokens)
        self.updates_per_round = min(config.log_interval, config.num_steps)
        self._sharding = along_rows(mesh, axis=1)
        self._num_holdout = 0 if holdout is None else len(holdout.tokens)
        # Held-out rows lie behind those that are drawn in training.
        every = rows if holdout is None else _joined(rows, holdout)
        self.steps = jax.tree.map(lambda x: jax.device_put(x, replicated(mesh)), every)

    def round(self, step: int, next_step: int) -> TextDraw:
        """Draw the updates from `step` on."""
        size = self.config.num_rows
        count = self.updates_per_round
        places = np.arange(step * size, (step + count) * size)
        return self._place(self._numbers(places).reshape(count, size))

    def holdout_draw(self) -> TextDraw | None:
        """Draw the held-out rows, as many as fill whole batches, always the same."""
        size = self.config.num_rows
        count = min(self._num_holdout // size, 16)
        if not count:
            return None
        return self._place(self.num_rows + np.arange(count * size).reshape(count, size))

    def describe(self, step: int) -> str:
        """Say which posts the batch of the update after `step` holds."""
        size = self.config.num_rows
        numbers = self._numbers(np.arange(step * size, (step + 1) * size))
        shown = ", ".join(map(str, numbers[:8]))
        more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
        return f"seed {self.config.seed}, step {step}, posts {shown}{more}"

    def close(self) -> None:
        """Do nothing: all lies on the devices."""

    def _numbers(self, places: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Find which rows stand at these places of the endless line of epochs."""
        epochs, place = np.divmod(places, self.num_rows)
        found = np.empty(len(places), np.int64)
        for epoch in np.unique(epochs):
            order = np.random.default_rng([self.config.seed, int(epoch)]).permutation(self.num_rows)
            of_it = epochs == epoch
            found[of_it] = order[place[of_it]]
        return found

    def _place(self, numbers: Int[np.ndarray, "U B"]) -> TextDraw:
        # Every process draws all rows, and its devices take theirs.
        numbers = numbers.astype(np.int32)
        return jax.make_array_from_callback(
            numbers.shape, self._sharding, lambda index: numbers[index]
        )


def _joined(rows: Rows, holdout: Rows) -> Rows:
    width = max(rows.tokens.shape[-1], holdout.tokens.shape[-1])

    def wide(tokens: np.ndarray) -> np.ndarray:
        axes = [(0, 0)] * (tokens.ndim - 1)
        return np.pad(tokens, [*axes, (0, width - tokens.shape[-1])])

    both = (np.concatenate(parts) for parts in zip(rows[1:], holdout[1:], strict=True))
    return type(rows)(np.concatenate([wide(rows.tokens), wide(holdout.tokens)]), *both)
