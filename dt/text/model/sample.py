"""Samples of the language model: a batch of texts, a token at a time, as one compiled program.

Axes: B texts, P tokens of the prompts, N new tokens, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Interval
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.config.checks import Count, CountOrNone, NotNegative, check_bounds
from dt.model.heads.guidance import extrapolate
from dt.model.params import Params
from dt.text.model.cache import TextCache, advance
from dt.text.model.language_model import LanguageModel


@dataclass(frozen=True)
class SampleOptions:
    """How tokens are drawn."""

    length: Count = 64
    """New tokens of a text, at most."""
    temperature: NotNegative = 1.0
    """What logits are divided by; 0: always the likeliest token."""
    top_k: CountOrNone = 0
    """Draw among this many of the likeliest tokens, and those as likely as the last; 0: all."""
    top_p: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """Draw among the likeliest that have this probability together (Holtzman et al. 2020)."""
    guidance: float = 1.0
    """Weight w of the return: log p_u + w (log p_c - log p_u); 1: the model as trained."""
    stop: tuple[int, ...] = ()
    """Tokens that end a text; the one that ended it is its last."""

    def __post_init__(self) -> None:
        check_bounds(self, "sampling.")


class Samples(NamedTuple):
    """Texts that were drawn, without their prompts."""

    tokens: Int[Array, "B N"]
    """Behind a text's end: zeros."""
    lengths: Int[Array, " B"]
    """Tokens of each, its stop token included."""
    log_probs: Float[Array, "B N"]
    """Of each token under the distribution that it was drawn from before anything was cut off it,
    which is the guided one at temperature 1; zeros behind the end."""


class _Numbers(NamedTuple):
    """Options that are arguments of the compiled program, so that others compile nothing."""

    temperature: Float[Array, ""]
    top_k: Int[Array, ""]
    top_p: Float[Array, ""]
    guidance: Float[Array, ""]


class _Progress(NamedTuple):
    """What the loop over tokens carries."""

    step: Int[Array, ""]
    token: Int[Array, " B"]  # the last that was drawn
    cache: TextCache
    ended: Bool[Array, " B"]
    samples: Samples


def sample(
    model: LanguageModel,
    options: SampleOptions,
    key: Array,
    prompts: Int[Array, "B P"],
    real: Bool[Array, "B P"] | None = None,
    returns: Float[Array, " B"] | None = None,
    null: Bool[Array, " B"] | None = None,
) -> Samples:
    """Continue each prompt by tokens that the model draws.

    One program serves all options but `length`, `stop`, and whether there is guidance; other shapes
    of the prompts compile another.

    Args:
        prompts: at least one token each, padding on the left.
        real: prompts' tokens that are no padding; None: all.
        returns: asked for, in the model's units; None: nothing is asked.
        null: texts for which nothing is asked all the same.

    Raises:
        ValueError: for prompts that leave no place for `length` tokens, and for guidance without
            returns.
    """
    most = model.config.longest - prompts.shape[1] + 1  # the last token is drawn, and never read
    if options.length > most:
        raise ValueError(
            f"sampling.length is {options.length}; with prompts of {prompts.shape[1]} tokens it "
            f"must be at most {most}, for the model's longest text has {model.config.longest}"
        )
    if options.guidance != 1 and returns is None:
        raise ValueError(f"sampling.guidance is {options.guidance}; it must be 1 without returns")
    graph, params = nnx.split(model)
    numbers = _Numbers(
        jnp.float32(options.temperature),
        jnp.int32(options.top_k),
        jnp.float32(options.top_p),
        jnp.float32(options.guidance),
    )
    if real is None:
        real = jnp.ones(prompts.shape, bool)
    guided = options.guidance != 1
    static = graph, options.length, options.stop, guided
    return _sample(params, numbers, key, prompts, real, returns, null, static)


@partial(jax.jit, static_argnames="static")
def _sample(
    params: Params,
    numbers: _Numbers,
    key: Array,
    prompts: Int[Array, "B P"],
    real: Bool[Array, "B P"],
    returns: Float[Array, " B"] | None,
    null: Bool[Array, " B"] | None,
    static: tuple[nnx.GraphDef[LanguageModel], int, tuple[int, ...], bool],
) -> Samples:
    graph, length, stop, guided = static
    model, rows = nnx.merge(graph, params), len(prompts)
    if guided:  # both passes in one batch
        assert returns is not None, "guidance is refused without returns"
        told = jnp.zeros(rows, bool) if null is None else null
        returns, null = jnp.tile(returns, 2), jnp.concatenate([told, jnp.ones(rows, bool)])

    def step(
        cache: TextCache, tokens: Int[Array, "B n"], real: Bool[Array, "B n"]
    ) -> tuple[Float[Array, "B V"], TextCache]:
        if guided:
            tokens, real = jnp.tile(tokens, (2, 1)), jnp.tile(real, (2, 1))
        hidden, cache = advance(model, cache, tokens, real, returns, null)
        logits = model.logits(hidden[:, -1])
        if guided:
            weight = jnp.broadcast_to(numbers.guidance, (rows, 1))
            logits = extrapolate(logits[:rows], logits[rows:], weight)
        return logits, cache

    def drawn(
        i: Int[Array, ""] | int,
        logits: Float[Array, "B V"],
        cache: TextCache,
        ended: Bool[Array, " B"],
        so_far: Samples,
    ) -> _Progress:
        token = _draw(logits, numbers, jax.random.fold_in(key, i))
        own = jnp.take_along_axis(logits, token[:, None], axis=1)[:, 0]
        log_prob = own - jax.nn.logsumexp(logits, axis=-1)
        samples = Samples(
            so_far.tokens.at[:, i].set(jnp.where(ended, 0, token)),
            so_far.lengths + ~ended,
            so_far.log_probs.at[:, i].set(jnp.where(ended, 0, log_prob)),
        )
        ended = ended | (token[:, None] == jnp.array(stop, jnp.int32)).any(axis=1)
        return _Progress(jnp.asarray(i + 1), token, cache, ended, samples)

    def next_token(progress: _Progress) -> _Progress:
        every = jnp.ones((rows, 1), bool)
        logits, cache = step(progress.cache, progress.token[:, None], every)
        return drawn(progress.step, logits, cache, progress.ended, progress.samples)

    passes = 2 if guided else 1
    cache = TextCache.empty(model, passes * rows, prompts.shape[1] + length - 1)
    logits, cache = step(cache, prompts, real)
    nothing = Samples(
        jnp.zeros((rows, length), jnp.int32),
        jnp.zeros(rows, jnp.int32),
        jnp.zeros((rows, length)),
    )
    first = drawn(jnp.int32(0), logits, cache, jnp.zeros(rows, bool), nothing)
    return jax.lax.while_loop(
        lambda progress: (progress.step < length) & ~progress.ended.all(), next_token, first
    ).samples


def _draw(logits: Float[Array, "B V"], numbers: _Numbers, key: Array) -> Int[Array, " B"]:
    """Draw a token of each row, or take the likeliest at temperature 0."""
    likeliest = logits.argmax(axis=-1)

    def drawn() -> Int[Array, " B"]:
        scaled = logits / numbers.temperature
        weights = jnp.exp(scaled - scaled.max(axis=-1, keepdims=True))
        return _pick(cut_off(weights, numbers.top_k, numbers.top_p), key)

    return jax.lax.cond(numbers.temperature > 0, drawn, lambda: likeliest)


def _pick(weights: Float[Array, "B V"], key: Array) -> Int[Array, " B"]:
    """Draw a token of each row in proportion to its weight.

    By one random number a row, which is looked for first among sums of stretches and then within
    one: a tenth of the work of a random number for each token of a vocabulary.
    """
    rows, size = weights.shape
    stretch = max(1, math.isqrt(size))
    padded = jnp.pad(weights, [(0, 0), (0, -size % stretch)]).reshape(rows, -1, stretch)
    ends = jnp.cumsum(padded.sum(axis=-1), axis=-1)
    at = jax.random.uniform(key, (rows, 1)) * ends[:, -1:]
    # The first that ends behind the number; rounding may leave it behind all of them.
    place = jnp.minimum((ends <= at).sum(axis=-1), ends.shape[1] - 1)
    before = jnp.where(place > 0, jnp.take_along_axis(ends, place[:, None] - 1, axis=1)[:, 0], 0)
    own = jnp.take_along_axis(padded, place[:, None, None], axis=1)[:, 0]
    inner = before[:, None] + jnp.cumsum(own, axis=-1)
    within = (inner <= at).sum(axis=-1)
    # A token of weight zero is never taken: behind the last that has some there is none.
    last = stretch - 1 - jnp.argmax((own > 0)[:, ::-1], axis=-1)
    return place * stretch + jnp.minimum(within, last)


def cut_off(
    weights: Float[Array, "B V"], top_k: Int[Array, ""], top_p: Float[Array, ""]
) -> Float[Array, "B V"]:
    """Set to zero what is not among the top_k likeliest, or then not in the nucleus.

    The nucleus is the fewest of the likeliest tokens that together reach top_p, and all that are as
    likely as the last of them.

    Args:
        weights: in proportion to the tokens' probabilities.
        top_k: 0 for all.
    """

    def likeliest(weights: Float[Array, "B V"]) -> Float[Array, "B V"]:
        enough = jnp.broadcast_to(top_k.astype(jnp.float32), (len(weights), 1))
        return _at_least(weights, jnp.ones_like(weights), enough)

    def nucleus(weights: Float[Array, "B V"]) -> Float[Array, "B V"]:
        return _at_least(weights, weights, top_p * weights.sum(axis=-1, keepdims=True))

    weights = jax.lax.cond(top_k > 0, likeliest, lambda weights: weights, weights)
    return jax.lax.cond(top_p < 1, nucleus, lambda weights: weights, weights)


def _at_least(
    weights: Float[Array, "B V"], counted: Float[Array, "B V"], enough: Float[Array, "B 1"]
) -> Float[Array, "B V"]:
    """Keep the largest weights whose `counted` come to `enough`; the others become zero.

    The threshold is found by halving over the bits of a number, which are in the order of the
    numbers: 31 sums, where sorting a vocabulary takes ten times as long.
    """
    bits = jax.lax.bitcast_convert_type(weights, jnp.int32)
    low = jnp.zeros((len(weights), 1), jnp.int32)

    def halve(i: Int[Array, ""], low: Int[Array, "B 1"]) -> Int[Array, "B 1"]:
        higher = low + (jnp.int32(1) << (30 - i))
        total = jnp.where(bits >= higher, counted, 0).sum(axis=-1, keepdims=True)
        return jnp.where(total >= enough, higher, low)

    return jnp.where(bits >= jax.lax.fori_loop(0, 31, halve, low), weights, 0)
