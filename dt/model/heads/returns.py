"""Heads that predict the return-to-go, as bins or as an expectile, and choose one to ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from dt.model.heads.piecewise import Bins
from dt.model.heads.sampling import Sampling, nucleus
from dt.model.recipe import Recipe
from dt.spec.spec import PolicySpec


@dataclass(frozen=True)
class ReturnChoice:
    """How a return to ask for is chosen from what the model expects.

    Raises:
        ValueError: for a kappa below 0, no samples, and a top_p outside of (0, 1].
    """

    kappa: float = 0.0  # how much better returns are preferred; 0: as in the data
    num_samples: int = 1  # drawn, of which the largest is asked for
    top_p: float = 1.0  # choose among the likeliest returns that hold this share, no others

    def __post_init__(self) -> None:
        if not 0.0 <= self.kappa < float("inf"):
            raise ValueError(f"kappa is {self.kappa}; give 0 or more, where 0 prefers nothing")
        if self.num_samples < 1:
            raise ValueError(f"num_samples is {self.num_samples}; draw at least 1")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(
                f"top_p is {self.top_p}; give a share above 0 and at most 1, where 1 leaves "
                f"nothing out"
            )


class CategoricalReturnHead(nnx.Module):
    """The return-to-go as logits over bins (Multi-Game DT, Lee et al. 2022); cross-entropy.

    All returns are in the model's normalised units. Each is learned as a normal distribution about
    it (Imani and White 2018), since neighbouring bins are nearly the same return: without that the
    head is too sure of single bins. On CartPole's data its expected calibration error was 0.07, and
    0.03 with a standard deviation of two bins.
    """

    def __init__(
        self,
        width: int,
        edges: Float[np.ndarray, " K1"],
        recipe: Recipe,
        smoothing: float = 0.0,
        *,
        rngs: nnx.Rngs,
    ):
        """
        Args:
            edges: as `dt.spec.bins.bin_edges` places them over the data's range.
            smoothing: standard deviation of what is learned, in bins; 0: the return's own alone.
        """
        self.smoothing = smoothing
        self.bins = Bins.of(edges[None])
        self.out = recipe.linear(width, len(edges) - 1, rngs=rngs)

    def __call__(self, vectors: Float[Array, "*b D"]) -> Float[Array, "*b K"]:
        return self.out(vectors)

    def loss(
        self,
        prediction: Float[Array, "*b K"],
        returns: Float[Array, "*b"],
        key: Array | None = None,
    ) -> Float[Array, "*b"]:
        """Cross-entropy of each step, in nats; returns beyond all bins count as in the nearest."""
        del key
        if not self.smoothing:
            return -self.bins.log_mass(prediction[..., None, :], returns[..., None])[..., 0]
        log_probabilities = self.bins.log_probabilities(prediction[..., None, :])[..., 0, :]
        return -(self.shares(returns) * log_probabilities).sum(axis=-1)

    def shares(self, returns: Float[Array, "*b"]) -> Float[Array, "*b K"]:
        """What each bin has of the normal distribution about a return, within all bins."""
        edges = self.bins.array[0]
        spread = self.smoothing * (edges[-1] - edges[0]) / (len(edges) - 1)
        centre = jnp.clip(returns, edges[0], edges[-1])[..., None]
        below = norm.cdf((edges - centre) / spread)
        return jnp.diff(below) / (below[..., -1:] - below[..., :1])

    def log_prob(
        self, prediction: Float[Array, "*b K"], returns: Float[Array, "*b"]
    ) -> Float[Array, "*b"]:
        """Log-density of the returns; minus infinity outside of all bins."""
        return self.bins.log_density(prediction[..., None, :], returns[..., None])[..., 0]

    def probabilities(self, prediction: Float[Array, "*b K"]) -> Float[Array, "*b K"]:
        """Of the bins; `dt.evaluation.predicted_returns` holds them against what came."""
        return jnp.exp(self.bins.log_probabilities(prediction[..., None, :])[..., 0, :])

    def mean(self, prediction: Float[Array, "*b K"]) -> Float[Array, "*b"]:
        return (self.probabilities(prediction) * self.bins.centres[0]).sum(axis=-1)

    def quantile(self, prediction: Float[Array, "*b K"], level: float) -> Float[Array, "*b"]:
        """The return that is not reached with probability `level`."""
        return self.bins.quantile(prediction[..., None, :], level)[..., 0]

    def sample(self, prediction: Float[Array, "*b K"], key: Array) -> Float[Array, "*b"]:
        """What the data would bring: P(R | history)."""
        return self.choose(prediction, key, ReturnChoice())

    def choose(
        self, prediction: Float[Array, "*b K"], key: Array, choice: ReturnChoice
    ) -> Float[Array, "*b"]:
        """The largest of some samples of P(R | history) exp(kappa (R - R_low) / (R_high - R_low)).

        Lee et al. 2022: the one factor keeps to returns that can come, the other to good ones;
        [R_low, R_high] is all that the bins span. A kappa beyond what any probability in
        the model can outweigh takes the topmost bin: `top_p` keeps that to returns that the model
        holds for likely.
        """
        logits = self.bins.alive(prediction[..., None, :])[..., 0, :]
        if choice.top_p < 1.0:
            logits = jnp.where(nucleus(logits, choice.top_p), logits, -jnp.inf)
        low, high = self.bins.array[0, 0], self.bins.array[0, -1]
        logits = logits + choice.kappa * (self.bins.centres[0] - low) / (high - low)
        many = jnp.broadcast_to(logits, (choice.num_samples, *logits.shape))
        samples = self.bins.sample(many[..., None, :], key, Sampling())
        return samples[..., 0].max(axis=0)


class ExpectileReturnHead(nnx.Module):
    """One return-to-go that is higher than the mean: the best that the data brings, nearly.

    The tau-expectile goes from the mean (tau = 0.5) to the largest return (tau = 1); Elastic DT
    (Wu et al. 2023) and Reinformer (Zhuang et al. 2024) ask for it.
    """

    def __init__(self, width: int, tau: float, recipe: Recipe, *, rngs: nnx.Rngs):
        if not 0.0 < tau < 1.0:
            raise ValueError(f"tau is {tau}; give a number between 0 and 1, such as 0.99")
        self.tau = tau
        self.out = recipe.linear(width, 1, rngs=rngs)

    def __call__(self, vectors: Float[Array, "*b D"]) -> Float[Array, "*b 1"]:
        return self.out(vectors)

    def loss(
        self,
        prediction: Float[Array, "*b 1"],
        returns: Float[Array, "*b"],
        key: Array | None = None,
    ) -> Float[Array, "*b"]:
        """Squared error, weighted tau where the return is above the prediction, else 1 - tau."""
        del key
        error = returns - prediction[..., 0]
        return jnp.where(error > 0, self.tau, 1.0 - self.tau) * jnp.square(error)

    def choose(self, prediction: Float[Array, "*b 1"]) -> Float[Array, "*b"]:
        return prediction[..., 0]


ReturnHead: TypeAlias = CategoricalReturnHead | ExpectileReturnHead


def make_return_head(spec: PolicySpec, recipe: Recipe, *, rngs: nnx.Rngs) -> ReturnHead:
    """Make the head that `model.return_head` names; its bins span the data's returns."""
    config = spec.model
    if config.return_head == "expectile":
        return ExpectileReturnHead(config.width, config.return_expectile, recipe, rngs=rngs)
    low, high = spec.return_normalizer(np.asarray(spec.return_range, np.float32)).tolist()
    if not high > low:  # every return is the same, but bins have a width
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, config.return_bins + 1, dtype=np.float32)
    return CategoricalReturnHead(config.width, edges, recipe, config.return_smoothing, rngs=rngs)
