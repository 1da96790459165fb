"""Search problems: which input scores best, for each of Q contexts or for all of them together.

Whatever searches knows only this: values of candidates and, where there are any, their slopes. A
candidate is a row of numbers (`Vectors`) or of tokens, positions x alphabet (`Tokens`); a language
model's tokens are such an alphabet too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dt.data.batches.windows import Batch
from dt.model.params import Params
from dt.steering.contexts import Contexts
from dt.steering.outcome import Ledger
from dt.steering.probe import AS_IT_IS, Probe, Score, Written

ROWS = 128  # of one call of a compiled program; what is fewer is filled up
OWN = -1  # a token that stands for whatever the context has at that position


@dataclass(frozen=True)
class Vectors:
    """Inputs that are d numbers each, within a box or within balls.

    `write` puts them into contexts: (batch, last, values (R, d)) -> edit. Pure JAX.
    """

    name: str
    start: Float[np.ndarray, "B d"]  # where a search begins; for most spaces the context's own
    low: Float[np.ndarray, "B d"]
    high: Float[np.ndarray, "B d"]
    write: Callable[[Batch, Array, Array], Written]
    unit: str  # of distances
    group: int = 1  # numbers of one vector
    radius: float | None = None  # that each vector's norm is bounded by

    @property
    def size(self) -> int:
        return int(self.start.shape[1])

    @property
    def scale(self) -> Float[np.ndarray, " d"]:
        """A typical size of each number, by which searches measure their steps."""
        if self.radius is not None:
            return np.full(self.size, self.radius / np.sqrt(self.group))
        return np.maximum((self.high - self.low).mean(axis=0) / 2, 1e-9)

    def project(self, values: Float[np.ndarray, "B N d"]) -> Float[np.ndarray, "B N d"]:
        """Bring values to the nearest that are allowed."""
        values = np.clip(values, self.low[:, None], self.high[:, None])
        if self.radius is None:
            return values
        grouped = values.reshape(*values.shape[:2], -1, self.group)
        norms = np.linalg.norm(grouped, axis=-1, keepdims=True)
        kept = grouped * np.minimum(1.0, self.radius / np.maximum(norms, 1e-12))
        return kept.reshape(values.shape)

    def sample(self, rng: np.random.Generator, count: int) -> Float[np.ndarray, "B N d"]:
        """Draw values: uniformly from the box, or directions of the full norm."""
        shape = (len(self.start), count, self.size)
        if self.radius is None:
            share = rng.uniform(size=shape)
            return self.low[:, None] + share * (self.high - self.low)[:, None]
        drawn = rng.normal(size=(*shape[:2], self.size // self.group, self.group))
        drawn *= self.radius / np.linalg.norm(drawn, axis=-1, keepdims=True)
        return drawn.reshape(shape)

    def distances(self, values: Float[np.ndarray, "B d"]) -> Float[np.ndarray, " B"]:
        """Measure how far from where the search began."""
        return np.linalg.norm(values - self.start, axis=-1)

    def edits(self, values: Float[np.ndarray, "B d"]) -> Int[np.ndarray, " B"]:
        """Count the vectors, or numbers, that are other than they were."""
        moved = np.abs(values - self.start) > 1e-9
        return moved.reshape(len(values), -1, self.group).any(axis=-1).sum(axis=-1)

    def for_all(self) -> Vectors:
        """The same of one input for all contexts."""
        ends = (x.mean(axis=0, keepdims=True) for x in (self.start, self.low, self.high))
        start, low, high = ends
        return dataclasses.replace(self, start=start, low=low, high=high)

    def grid(self, levels: int) -> Float[np.ndarray, "B N d"]:
        """List an even grid of the box, ends included; for one or two numbers."""
        share = np.linspace(0.0, 1.0, levels)
        shares = np.stack(np.meshgrid(*[share] * self.size, indexing="ij"), axis=-1)
        shares = shares.reshape(1, -1, self.size)
        return self.low[:, None] + shares * (self.high - self.low)[:, None]


@dataclass(frozen=True)
class Tokens:
    """Inputs that are P tokens each, out of an alphabet of A, or the context's own.

    `write` puts them into contexts: (batch, last, tokens (R, P), weights (R, P, A)) -> edit, where
    the weights are added to what the tokens stand for: None, or zeros whose gradient is wanted.
    """

    name: str
    own: Int[np.ndarray, "B P"]  # of the alphabet where the context's own is one of it; else OWN
    size: int  # A
    write: Callable[[Batch, Array, Array, Array | None], Written]
    unit: str = "edits"

    @property
    def positions(self) -> int:
        return int(self.own.shape[1])

    @property
    def radius(self) -> None:
        """Tokens have no norm to be bounded."""
        return None

    def distances(self, tokens: Int[np.ndarray, "B P"]) -> Float[np.ndarray, " B"]:
        """Measure how far from the context's own: in edits."""
        return self.edits(tokens).astype(np.float64)

    def for_all(self) -> Tokens:
        """The same of one input for all contexts, whose own tokens are no longer one's."""
        return dataclasses.replace(self, own=np.full((1, self.positions), OWN))

    def edits(self, tokens: Int[np.ndarray, "B P"]) -> Int[np.ndarray, " B"]:
        """Count the positions that hold another token than the context's own."""
        return ((tokens != OWN) & (tokens != self.own)).sum(axis=-1)

    def sample(
        self, rng: np.random.Generator, count: int, most: int | None = None
    ) -> Int[np.ndarray, "B N P"]:
        """Draw tokens: of all positions, or of at most so many, the others being the own."""
        rows, places = self.own.shape
        drawn = rng.integers(self.size, size=(rows, count, places))
        if most is None or most >= places:
            return drawn
        order = rng.random((rows, count, places)).argsort(axis=-1).argsort(axis=-1)
        return np.where(order < most, drawn, OWN)


class Problem(Protocol):
    """Q searches at once; methods ask for nothing else."""

    space: Vectors | Tokens

    @property
    def count(self) -> int:
        """Q: contexts, or 1 where one input shall serve all of them."""

    def values(self, candidates: np.ndarray) -> Float[np.ndarray, "Q N"]:
        """Score candidates (Q, N, d); each costs a forward pass of every context it is for."""

    def slopes(self, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Score candidates (Q, N, d), and give the gradient of each score: (Q, N, d), or of tokens
        (Q, N, P, A), of each other token in a position's place."""


@dataclass(eq=False)
class ModelProblem:
    """A problem of a model on contexts: a score of what it says at their ends."""

    plain: Probe  # of the model as it is
    probe: Probe  # the same, or with room for a prefix
    contexts: Contexts  # B
    wanted: Any  # a tree of arrays (B, ...), handed to the score
    score: Score
    space: Vectors | Tokens
    ledger: Ledger
    universal: bool = False  # one input for all contexts that it is for, scored by the mean
    held_back: int = 0  # contexts, the last ones, that no search sees
    spent: int = field(default=0, init=False)  # passes a search: forward one, a gradient three

    def __post_init__(self) -> None:
        kept = self.contexts.batch, jnp.asarray(self.contexts.last), self.wanted
        self._kept = jax.device_put(kept)
        self._values, self._slopes = jax.jit(self._score_rows), jax.jit(self._slopes_of_rows)

    @property
    def count(self) -> int:
        return 1 if self.universal else self.num_seen

    @property
    def num_seen(self) -> int:
        """Contexts that searches are for."""
        return len(self.contexts) - self.held_back

    def values(self, candidates: np.ndarray) -> Float[np.ndarray, "Q N"]:
        rows, of = self._rows(candidates)
        found = self._in_calls(self._values, rows, of, of)[0]
        self.spent += candidates.shape[1]
        self.ledger.passes(len(rows))
        return self._over_contexts(found, candidates)

    def slopes(self, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, of = self._rows(candidates)
        values, slopes = self._in_calls(self._slopes, rows, of, of)
        self.spent += 3 * candidates.shape[1]
        self.ledger.passes(len(rows), len(rows))
        return self._over_contexts(values, candidates), self._over_contexts(slopes, candidates)

    def values_on(
        self, candidates: Float[np.ndarray, "R d"], contexts: np.ndarray, wanted: np.ndarray
    ) -> Float[np.ndarray, " R"]:
        """Score each candidate on one context, by what is wanted of one.

        Args:
            contexts, wanted: (R,) numbers of contexts.
        """
        self.ledger.passes(len(candidates))
        return self._in_calls(self._values, candidates, contexts, wanted)[0]

    def unedited_on(self, contexts: np.ndarray, wanted: np.ndarray) -> Float[np.ndarray, " R"]:
        """Score contexts as they are, each by what is wanted of one, as `values_on`."""

        def scored(params: Params, batch: Batch, last: Array, wanted: Any) -> Array:
            model = self.plain.model(params)
            return self.score(model, self.plain.say(model, batch, last, AS_IT_IS), wanted)

        shown, wish = self.contexts[contexts], jax.tree.map(lambda x: x[wanted], self.wanted)
        self.ledger.passes(len(contexts))
        found = jax.jit(scored)(self.plain.params, shown.batch, shown.last, wish)
        return np.asarray(found, np.float64)

    def _rows(self, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lay out a row for each pass, and the number of the context that it is for."""
        each = self.num_seen if self.universal else 1
        rows = np.repeat(candidates.reshape(-1, candidates.shape[2]), each, axis=0)
        if self.universal:
            return rows, np.tile(np.arange(each), candidates.shape[1])
        return rows, np.repeat(np.arange(len(candidates)), candidates.shape[1])

    def _over_contexts(self, found: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Average what was found in rows over the contexts that a candidate is for."""
        shape = (*candidates.shape[:2], -1, *found.shape[1:])
        return found.reshape(shape).mean(axis=2)

    def _in_calls(self, program: Any, rows: Any, contexts: Any, wanted: Any) -> list[np.ndarray]:
        """Run a program on all rows, so many at a time; the last call is filled up."""
        found = []
        for begin in range(0, len(rows), ROWS):
            part = [each[begin : begin + ROWS] for each in (rows, contexts, wanted)]
            size = len(part[0])
            filled = [np.concatenate([x, np.repeat(x[-1:], ROWS - size, axis=0)]) for x in part]
            filled[0] = filled[0].astype(np.int32 if self._discrete else np.float32)
            result = program(self.probe.params, self._kept, *filled)
            found.append([np.asarray(x, np.float64)[:size] for x in jax.tree.leaves(result)])
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]

    @property
    def _discrete(self) -> bool:
        return isinstance(self.space, Tokens)

    def _score_rows(
        self, params: Params, kept: Any, rows: Array, contexts: Array, wanted: Array
    ) -> Array:
        return self._scored(params, kept, rows, contexts, wanted, None)

    def _slopes_of_rows(
        self, params: Params, kept: Any, rows: Array, contexts: Array, wanted: Array
    ) -> tuple[Array, Array]:
        weights = None
        if isinstance(self.space, Tokens):
            weights = jnp.zeros((*rows.shape, self.space.size))

        def total(moved: Array) -> tuple[Array, Array]:
            at = (rows, moved) if self._discrete else (moved, None)
            scores = self._scored(params, kept, at[0], contexts, wanted, at[1])
            return scores.sum(), scores

        moved = rows if weights is None else weights
        slopes, scores = jax.grad(total, has_aux=True)(moved)
        return scores, slopes

    def _scored(
        self,
        params: Params,
        kept: Any,
        rows: Array,
        contexts: Array,
        wanted: Array,
        weights: Array | None,
    ) -> Array:
        batch, last = jax.tree.map(lambda x: x[contexts], kept[:2])
        wish = jax.tree.map(lambda x: x[wanted], kept[2])
        if isinstance(self.space, Tokens):
            edit = self.space.write(batch, last, rows, weights)
        else:
            edit = self.space.write(batch, last, rows)
        model = self.probe.model(params)
        return self.score(model, self.probe.say(model, batch, last, edit), wish)
