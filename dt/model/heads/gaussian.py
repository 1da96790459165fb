"""The head of a Gaussian over actions, squashed into the space's bounds.

Online DT (Zheng et al. 2022): the likelihood of the data, while the spread must not fall below an
entropy target. Its multiplier is learned with the weights, in the same update.
"""

from __future__ import annotations

from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from dt.model.heads.kind import HeadKind
from dt.model.heads.sampling import Sampling
from dt.model.recipe import Recipe

LOG_STD_RANGE = (-5.0, 2.0)  # Zheng et al.'s code; reached smoothly
FIRST_MULTIPLIER = 0.1  # of the entropy constraint, as there
# Where tanh has no inverse: an action at a bound counts as this far inside, at tanh(7.25). Data
# that piles up at its bounds fits no squashed Gaussian: bins do better there.
EDGE = 1e-6


class GaussianHead(nnx.Module):
    """Mean and spread of each number, independent given the past; tanh where it is bounded."""

    def __init__(
        self,
        width: int,
        action_dim: int,
        bounded: bool | Bool[np.ndarray, " A"],
        recipe: Recipe,
        *,
        target_entropy: float | None = None,
        rngs: nnx.Rngs,
    ):
        """
        Args:
            bounded: of all numbers, or of each: whether its space is [-1, 1] in the model's units.
            target_entropy: in nats, of all numbers together; minus their count unless given.
        """
        self.bounded = tuple(np.broadcast_to(bounded, (action_dim,)).tolist())
        self.target_entropy = float(-action_dim if target_entropy is None else target_entropy)
        self.out = recipe.linear(width, 2 * action_dim, rngs=rngs)
        self.log_multiplier = nnx.Param(jnp.log(jnp.float32(FIRST_MULTIPLIER)))

    def __call__(self, vectors: Float[Array, "*b D"]) -> Float[Array, "*b P"]:
        """Predict means, then what becomes the logarithms of the spreads, P = 2 A."""
        return self.out(vectors)

    def log_prob(
        self, prediction: Float[Array, "*b P"], actions: Float[Array, "*b A"]
    ) -> Float[Array, "*b"]:
        """Compute log-densities of actions in the model's units; at a bound, of just inside it."""
        inside = jnp.clip(actions, -1.0 + EDGE, 1.0 - EDGE)
        # The inner `where` keeps an unbounded number's gradient clear of arctanh's poles.
        bounded = np.array(self.bounded)
        raw = jnp.where(bounded, jnp.arctanh(jnp.where(bounded, inside, 0.0)), actions)
        return self._log_prob_raw(prediction, raw)

    def loss(
        self,
        prediction: Float[Array, "*b P"],
        actions: Float[Array, "*b A"],
        key: Array | None = None,
    ) -> Float[Array, "*b"]:
        """Compute each step's Lagrangian NLL - lambda (H - target), lambda = exp(log_multiplier).

        The weights' gradient descends it and lambda's ascends it, in one update: lambda grows
        while the entropy is below the target, and falls while it is above.
        """
        if key is None:
            raise ValueError(
                "the Gaussian head's entropy is estimated by sampling; give loss a key"
            )
        excess = self.entropy(prediction, key) - self.target_entropy
        fixed = jax.lax.stop_gradient(jnp.exp(self.log_multiplier[...]))
        # No value, only the multiplier's gradient, in the size that it has at the first multiplier:
        # were it lambda's own, a lambda that fell towards 0 would hardly come back. Over A, so that
        # it takes no large part of what clipping leaves for the weights.
        log = self.log_multiplier[...]
        dual = (log - jax.lax.stop_gradient(log)) * jax.lax.stop_gradient(excess)
        dual = FIRST_MULTIPLIER * dual / len(self.bounded)
        return -self.log_prob(prediction, actions) - fixed * excess + dual

    def entropy(self, prediction: Float[Array, "*b P"], key: Array) -> Float[Array, "*b"]:
        """Estimate it without bias from one sample, through which gradients pass; in nats."""
        mean, log_std = self._moments(prediction)
        raw = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)
        return -self._log_prob_raw(prediction, raw)

    def act(
        self, prediction: Float[Array, "*b P"], key: Array, sampling: Sampling
    ) -> Float[Array, "*b A"]:
        """Draw a sample; or take the squashed mean, which is each number's median.

        Temperature and top-p are those of the Gaussian: its variance is multiplied by the one, the
        other keeps the middle that holds this share of each number's probability.
        """
        raw, log_std = self._moments(prediction)
        if not sampling.deterministic:
            if sampling.top_p < 1.0:
                end = NormalDist().inv_cdf(0.5 + 0.5 * sampling.top_p)
                noise = jax.random.truncated_normal(key, -end, end, raw.shape)
            else:
                noise = jax.random.normal(key, raw.shape)
            raw = raw + jnp.exp(log_std) * sampling.temperature**0.5 * noise
        return jnp.where(np.array(self.bounded), jnp.tanh(raw), raw)

    def guide(
        self,
        conditional: Float[Array, "*b P"],
        unconditional: Float[Array, "*b P"],
        weight: Float[Array, "*b 1"],
    ) -> Float[Array, "*b P"]:
        """Multiply the densities p_u (p_c / p_u)^w: precisions and weighted means extrapolate.

        The tanh is the same in both and cancels. Where the condition widens the spread, a large
        weight leaves no density at all: the spread is kept to the wider of the two, and to what
        the head can say.
        """
        (mean_c, log_std_c), (mean_u, log_std_u) = map(self._moments, (conditional, unconditional))
        precision_c, precision_u = jnp.exp(-2.0 * log_std_c), jnp.exp(-2.0 * log_std_u)
        low, high = LOG_STD_RANGE
        precision = precision_u + weight * (precision_c - precision_u)
        precision = jnp.maximum(precision, jnp.minimum(precision_c, precision_u))
        precision = jnp.minimum(precision, np.exp(-2.0 * low))
        mean = mean_u + weight * precision_c / precision * (mean_c - mean_u)
        log_std = -0.5 * jnp.log(precision)
        # What `_moments` turns into this log_std; at the range's ends tanh has no inverse.
        share = jnp.clip(2.0 * (log_std - low) / (high - low) - 1.0, -1.0 + EDGE, 1.0 - EDGE)
        guided = jnp.concatenate([mean, jnp.arctanh(share)], axis=-1)
        return jnp.where(weight == 1, conditional, jnp.where(weight == 0, unconditional, guided))

    def _moments(
        self, prediction: Float[Array, "*b P"]
    ) -> tuple[Float[Array, "*b A"], Float[Array, "*b A"]]:
        mean, spread = jnp.split(prediction, 2, axis=-1)
        low, high = LOG_STD_RANGE
        return mean, low + 0.5 * (high - low) * (jnp.tanh(spread) + 1.0)

    def _log_prob_raw(
        self, prediction: Float[Array, "*b P"], raw: Float[Array, "*b A"]
    ) -> Float[Array, "*b"]:
        """Compute the log-density of an action, given its numbers before the tanh."""
        mean, log_std = self._moments(prediction)
        normal = jax.scipy.stats.norm.logpdf(raw, mean, jnp.exp(log_std))
        # log(1 - tanh(x)^2), which the plain form loses to rounding from x = 9 on.
        stretch = 2.0 * (np.log(2.0) - raw - jax.nn.softplus(-2.0 * raw))
        return jnp.where(np.array(self.bounded), normal - stretch, normal).sum(axis=-1)


GAUSSIAN = HeadKind(
    "gaussian",
    lambda made_for, rngs: GaussianHead(
        made_for.width, made_for.num_numbers, made_for.bounded, made_for.recipe, rngs=rngs
    ),
)
