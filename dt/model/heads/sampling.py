"""Choosing one of several categories: the likeliest, or drawn by temperature and top-p."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

ROUNDING = 1e-6  # of a sum of float32 probabilities


@dataclass(frozen=True)
class Sampling:
    """How an action is taken from what a head predicts.

    Raises:
        ValueError: for a temperature that is not above 0, and a top_p outside of (0, 1].
    """

    deterministic: bool = False  # the likeliest action; the other two then change nothing
    temperature: float = 1.0  # probabilities to the power of 1 / temperature: below 1 surer
    top_p: float = 1.0  # draw among the likeliest categories that hold this share, no others

    def __post_init__(self) -> None:
        if not 0.0 < self.temperature < float("inf"):
            raise ValueError(
                f"temperature is {self.temperature}; give a number above 0, or ask for "
                f"deterministic actions, which are the limit at 0"
            )
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(
                f"top_p is {self.top_p}; give a share above 0 and at most 1, where 1 leaves "
                f"nothing out"
            )


def draw(logits: Float[Array, "*b K"], key: Array, sampling: Sampling) -> Int[Array, "*b"]:
    """Draw one category of K; a logit of minus infinity is never drawn."""
    if sampling.deterministic:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    # From the largest down, so that a temperature near 0 divides nothing into infinity.
    tempered = (logits - logits.max(axis=-1, keepdims=True)) / sampling.temperature
    if sampling.top_p < 1.0:
        tempered = jnp.where(nucleus(tempered, sampling.top_p), tempered, -jnp.inf)
    return jax.random.categorical(key, tempered).astype(jnp.int32)


def nucleus(logits: Float[Array, "*b K"], top_p: float) -> Bool[Array, "*b K"]:
    """Mark the fewest likeliest categories that hold top_p of all (Holtzman et al. 2020)."""
    order = jnp.argsort(-logits, axis=-1)
    probabilities = jnp.take_along_axis(jax.nn.softmax(logits), order, axis=-1)
    likelier = jnp.cumsum(probabilities, axis=-1) - probabilities  # held by those before
    kept = (likelier < top_p - ROUNDING) | (jnp.arange(logits.shape[-1]) == 0)
    return jnp.take_along_axis(kept, jnp.argsort(order, axis=-1), axis=-1)
