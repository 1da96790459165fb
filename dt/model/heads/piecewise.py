"""A density that is constant within bins: its logarithm, samples and quantiles.

Axes: A numbers, each with K bins between K + 1 edges of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dt.model.heads.sampling import Sampling, draw


@dataclass(frozen=True)
class Bins:
    """Where the bins lie; constants of a model, not learned.

    A bin of no width, as quantiles of repeated values leave, holds no number: its logit is never
    read, and no density or sample comes from it.

    Raises:
        ValueError: for edges that fall or are not finite, and for numbers without a bin.
    """

    edges: tuple[tuple[float, ...], ...]  # float32 values; tuples, so that models compare

    def __post_init__(self) -> None:
        for number, edges in enumerate(self.edges):
            if not np.isfinite(edges).all() or not (np.diff(edges) >= 0).all():
                raise ValueError(
                    f"edges of number {number} are {_shortened(edges)}; they must be finite and "
                    f"never fall"
                )
            if len(edges) < 2 or edges[0] == edges[-1]:
                raise ValueError(
                    f"edges of number {number} are {_shortened(edges)}; they must span some width"
                )

    @classmethod
    def of(cls, edges: Float[np.ndarray, "A K1"]) -> Bins:
        return cls(tuple(tuple(row) for row in edges.astype(np.float32).tolist()))

    @cached_property
    def array(self) -> Float[np.ndarray, "A K1"]:
        return np.asarray(self.edges, np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """A and K."""
        return len(self.edges), len(self.edges[0]) - 1

    @cached_property
    def widths(self) -> Float[np.ndarray, "A K"]:
        return np.diff(self.array)

    @cached_property
    def centres(self) -> Float[np.ndarray, "A K"]:
        return (self.array[:, 1:] + self.array[:, :-1]) / 2

    def log_probabilities(self, logits: Float[Array, "*b A K"]) -> Float[Array, "*b A K"]:
        return jax.nn.log_softmax(self.alive(logits))

    def alive(self, logits: Float[Array, "*b A K"]) -> Float[Array, "*b A K"]:
        """Minus infinity for bins of no width."""
        return jnp.where(self.widths > 0, logits, -jnp.inf)

    def index(self, values: Float[Array, "*b A"]) -> Int[Array, "*b A"]:
        """The bin of each number: from its lower edge up to, not with, its upper one.

        The last edge belongs to the last bin; numbers outside of all belong to the nearest.
        """
        some = self.widths > 0
        first = np.argmax(some, axis=-1)
        last = some.shape[-1] - 1 - np.argmax(some[:, ::-1], axis=-1)
        passed = (values[..., None] >= self.array[:, 1:]).sum(axis=-1)
        return jnp.clip(passed, first, last)

    def log_mass(
        self, logits: Float[Array, "*b A K"], values: Float[Array, "*b A"]
    ) -> Float[Array, "*b A"]:
        """Logarithm of the probability of each number's bin, or of the bin nearest to it."""
        return _own(self.log_probabilities(logits), self.index(values))

    def log_density(
        self, logits: Float[Array, "*b A K"], values: Float[Array, "*b A"]
    ) -> Float[Array, "*b A"]:
        """Minus infinity outside of the outermost edges."""
        index = self.index(values)
        width = _own(jnp.broadcast_to(self.widths, logits.shape), index)
        inside = (values >= self.array[:, 0]) & (values <= self.array[:, -1])
        mass = _own(self.log_probabilities(logits), index)
        return jnp.where(inside, mass - jnp.log(width), -jnp.inf)

    def sample(
        self, logits: Float[Array, "*b A K"], key: Array, sampling: Sampling
    ) -> Float[Array, "*b A"]:
        """Anywhere within the bin that is drawn; or the centre of the likeliest bin."""
        bin_key, place_key = jax.random.split(key)
        index = draw(self.alive(logits), bin_key, sampling)
        if sampling.deterministic:
            return _own(jnp.broadcast_to(self.centres, logits.shape), index)
        low = _own(jnp.broadcast_to(self.array[:, :-1], logits.shape), index)
        width = _own(jnp.broadcast_to(self.widths, logits.shape), index)
        return low + width * jax.random.uniform(place_key, low.shape)

    def quantile(
        self, logits: Float[Array, "*b A K"], level: float | Float[Array, "*b A"]
    ) -> Float[Array, "*b A"]:
        """The number below which the share `level`, from 0 to 1, of the probability lies."""
        probabilities = jnp.exp(self.log_probabilities(logits))
        below = jnp.cumsum(probabilities, axis=-1)
        levels = jnp.broadcast_to(jnp.asarray(level, jnp.float32), below.shape[:-1])
        # Rounding may leave the sum of all just under 1: the last bin with width takes the rest.
        last = self.index(jnp.full(below.shape[:-1], jnp.inf))
        index = jnp.minimum((below < levels[..., None]).sum(axis=-1), last)
        mass = _own(probabilities, index)
        part = (levels - (_own(below, index) - mass)) / jnp.where(mass > 0, mass, 1.0)
        low = _own(jnp.broadcast_to(self.array[:, :-1], logits.shape), index)
        width = _own(jnp.broadcast_to(self.widths, logits.shape), index)
        return low + width * jnp.clip(part, 0.0, 1.0)


def _own(table: Array, index: Int[Array, "*b A"]) -> Array:
    """Each number's entry of a (..., A, K) table."""
    return jnp.take_along_axis(table, index[..., None], axis=-1)[..., 0]


def _shortened(edges: tuple[float, ...]) -> str:
    shown = ", ".join(f"{edge:g}" for edge in edges[:4])
    return f"({shown}{', ...' if len(edges) > 4 else ''})"
