"""Controls of attributions: the same of randomised weights, and deletion in their order.

An attribution that says the same of a network that has learned nothing explains nothing (Adebayo et
al. 2018). One that finds what matters makes the answer fall fastest where that is deleted first.

Axes: B contexts, T timesteps, F features, N inputs of a context, S steps of deletion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from dt.evaluation.intervals import rank_correlation
from dt.model.params import Params
from dt.steering.answer import Answer, Inputs
from dt.steering.attribution import SIGNED

LARGEST_CORRELATION = 0.3  # with randomised weights, of an attribution that says something
SHARES = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0)  # of inputs deleted


@dataclass(frozen=True)
class Deletion:
    """How the answer falls as inputs are deleted: those that are owed most first, or by chance."""

    shares: tuple[float, ...]
    ordered: Float[np.ndarray, " S"]  # the answer, mean over contexts
    random: Float[np.ndarray, " S"]
    areas: Float[np.ndarray, " B"]  # what is lost on average over the shares, of each context
    random_areas: Float[np.ndarray, " B"]
    p_value: float  # of Wilcoxon's test that the order loses no more than chance does


def randomised(params: Params, seed: int) -> Params:
    """Shuffle the numbers of each parameter: its spread stays, and what was learned is gone."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    shuffled = [
        jax.random.permutation(key, leaf.reshape(-1)).reshape(leaf.shape)
        for key, leaf in zip(keys, map(jnp.asarray, leaves), strict=True)
    ]
    return jax.tree.unflatten(structure, shuffled)


def flat(answer: Answer, owed: Inputs) -> tuple[Float[np.ndarray, "B N"], Bool[np.ndarray, "B N"]]:
    """Lay all inputs side by side, and tell which of them a context has."""
    real = answer.real(owed)
    count = len(answer.last)
    values = [np.asarray(owed[name]).reshape(count, -1) for name in owed]
    return (
        np.concatenate(values, axis=1),
        np.concatenate([real[name].reshape(count, -1) for name in owed], axis=1),
    )


def correlation_with_random(
    answer: Answer, params: Params, compute: Callable[[Params], Inputs], draws: int, owed: Inputs
) -> float:
    """Correlate ranks of an attribution with those of randomised weights, mean over contexts.

    Args:
        compute: the attribution, compiled, of any weights.
    """
    own, real = flat(answer, owed)
    found = []
    for seed in range(draws):
        other, _ = flat(answer, compute(randomised(params, seed)))
        for row in range(len(own)):
            here = real[row]
            rank = rank_correlation(own[row, here], other[row, here]) if here.sum() > 2 else None
            found += [] if rank is None else [rank]
    return float(np.mean(found)) if found else float("nan")


Curve: TypeAlias = Callable[[Params, Array, Array, tuple[tuple[str, int], ...]], Array]
"""Weights, the inputs' order, how many there are, and features by modality -> answers (S, B)."""


def curve_of(answer: Answer) -> Curve:
    """Make what deletes inputs in an order; compiled once for all methods of as many features."""
    return jax.jit(partial(_curve, answer), static_argnums=3)


def deletion(
    answer: Answer,
    params: Params,
    method: str,
    owed: Inputs,
    draws: int,
    seed: int,
    curve: Curve | None = None,
) -> Deletion:
    """Delete inputs in an attribution's order and in orders drawn at random.

    By a method whose signs count the answer is to fall, by the others it is to change.

    Args:
        curve: of `curve_of`, where several methods share one.
    """
    from scipy.stats import wilcoxon  # takes as long to import as JAX

    values, real = flat(answer, owed)
    rng = np.random.default_rng(seed)
    scores = np.where(real, values, -np.inf)
    compiled = curve_of(answer) if curve is None else curve
    counts, features = real.sum(axis=1), tuple((name, owed[name].shape[2]) for name in owed)

    def answers(scores: np.ndarray) -> np.ndarray:
        return np.asarray(compiled(params, _ranks(scores), jnp.asarray(counts), features))

    ordered = answers(scores)
    drawn = [np.where(real, rng.random(real.shape), -np.inf) for _ in range(draws)]
    random = np.stack([answers(each) for each in drawn])
    ordered_lost, random_lost = ordered[0] - ordered, random[:, :1] - random
    if method not in SIGNED:
        ordered_lost, random_lost = np.abs(ordered_lost), np.abs(random_lost)
    areas = np.trapezoid(ordered_lost, SHARES, axis=0)
    random_areas = np.trapezoid(random_lost, SHARES, axis=1).mean(axis=0)
    same = np.allclose(areas, random_areas)
    p = 1.0 if same else float(wilcoxon(areas, random_areas, alternative="greater").pvalue)
    return Deletion(SHARES, ordered.mean(axis=1), random.mean(axis=(0, 2)), areas, random_areas, p)


def _ranks(scores: Float[np.ndarray, "B N"]) -> Array:
    """The place of each input in the order of deletion."""
    order = np.argsort(-scores, axis=1, kind="stable")
    return jnp.asarray(np.argsort(order, axis=1, kind="stable"))


def _curve(
    answer: Answer,
    params: Params,
    ranks: Array,
    counts: Array,
    features: tuple[tuple[str, int], ...],
) -> Float[Array, "S B"]:
    """The answers once the first shares of inputs say nothing."""
    told, none = answer.told(params), answer.nothing(params)

    def at(share: Array) -> Array:
        gone, begin, left = ranks < jnp.round(share * counts)[:, None], 0, {}
        for name, count in features:
            rows, steps = told[name].shape[:2]
            here = gone[:, begin : begin + steps * count].reshape(rows, steps, count)
            left[name] = jnp.where(here, none[name], told[name])
            begin += steps * count
        return answer(params, left)

    return jax.lax.map(at, jnp.asarray(SHARES))
