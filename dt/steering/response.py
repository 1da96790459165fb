"""The response of a policy to its inputs: mean returns as a smooth function of request and weights.

A Gaussian process (Rasmussen and Williams 2006, chapter 2) over inputs of a few numbers each, whose
scales are those of the greatest marginal likelihood. Inputs that lie near each other share what
they brought, so few episodes of each are enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

# Of the features of `features`: how far inputs may lie apart and still tell of each other.
SCALES = (0.03, 3.0)


def features(
    requests: Float[np.ndarray, " N"],
    guidance: Float[np.ndarray, "N 3"],
    span: tuple[float, float],
) -> Float[np.ndarray, "N 4"]:
    """Put inputs side by side in comparable units.

    Args:
        span: of the requests, lowest and highest.
    """
    low, high = span
    weights = np.log2(1.0 + guidance[:, :2]) / 3.0  # 0 for none, 1 for 7
    return np.column_stack([(requests - low) / (high - low), weights, 3.0 * guidance[:, 2]])


@dataclass(frozen=True)
class Response:
    """What is known of mean returns from episodes played: a mean and a covariance anywhere."""

    inputs: Float[np.ndarray, "N F"]  # as `features` has them, each once
    means: Float[np.ndarray, " N"]  # of the returns that each brought
    noise: Float[np.ndarray, " N"]  # variance of each of these means
    scales: Float[np.ndarray, " F"]
    signal: float  # standard deviation of the function about its mean
    centre: float

    @classmethod
    def fit(
        cls,
        inputs: Float[np.ndarray, "N F"],
        means: Float[np.ndarray, " N"],
        variances: Float[np.ndarray, " N"],
        counts: Int[np.ndarray, " N"],
    ) -> Response:
        """Fit the scales to means of so many episodes each.

        Args:
            variances: of the episodes of each input; of one alone 0, and the others' counts.
        """
        from scipy.optimize import minimize  # takes as long to import as JAX

        noise = _noise_of_means(variances, counts)
        centre = float(np.average(means, weights=1.0 / noise))
        size = float(max(np.std(means), 1e-6))

        def loss(logs: np.ndarray) -> float:
            scales, signal = np.exp(logs[:-1]), size * np.exp(logs[-1])
            covariance = _kernel(inputs, inputs, scales, signal) + np.diag(noise)
            factor = np.linalg.cholesky(covariance + 1e-6 * signal**2 * np.eye(len(inputs)))
            white = np.linalg.solve(factor, means - centre)
            prior = 0.5 * np.sum(((logs[:-1] - np.log(0.3)) / 1.0) ** 2) + 0.5 * logs[-1] ** 2
            return float(0.5 * white @ white + np.log(np.diag(factor)).sum() + prior)

        first = np.append(np.full(inputs.shape[1], np.log(0.3)), 0.0)
        bounds = [tuple(np.log(SCALES))] * inputs.shape[1] + [(-2.0, 2.0)]
        found = minimize(loss, first, method="L-BFGS-B", bounds=bounds).x
        return cls(
            inputs, means, noise, np.exp(found[:-1]), size * float(np.exp(found[-1])), centre
        )

    def posterior(
        self, at: Float[np.ndarray, "M F"]
    ) -> tuple[Float[np.ndarray, " M"], Float[np.ndarray, "M M"]]:
        """Compute the expected mean return at these inputs, and its covariance."""
        known = _kernel(self.inputs, self.inputs, self.scales, self.signal) + np.diag(self.noise)
        factor = np.linalg.cholesky(known + 1e-6 * self.signal**2 * np.eye(len(self.inputs)))
        cross = np.linalg.solve(factor, _kernel(self.inputs, at, self.scales, self.signal))
        mean = self.centre + cross.T @ np.linalg.solve(factor, self.means - self.centre)
        return mean, _kernel(at, at, self.scales, self.signal) - cross.T @ cross


def _kernel(
    a: Float[np.ndarray, "N F"], b: Float[np.ndarray, "M F"], scales: np.ndarray, signal: float
) -> Float[np.ndarray, "N M"]:
    """Matern's kernel of smoothness 3/2: returns change fast where a gait gives way to another."""
    apart = np.sqrt((((a[:, None] - b[None]) / scales) ** 2).sum(axis=-1) + 1e-12)
    return signal**2 * (1.0 + np.sqrt(3.0) * apart) * np.exp(-np.sqrt(3.0) * apart)


def _noise_of_means(
    variances: Float[np.ndarray, " N"], counts: Int[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """Variance of each mean; of few episodes the others' spread counts with that of four.

    Spreads are averaged as logarithms: inputs that bring now this gait and now that one would
    otherwise make all others look uncertain.
    """
    freedom = counts - 1
    largest = max(float(variances.max()), 1e-12)
    logs = np.log(np.maximum(variances, 1e-4 * largest))
    usual = np.average(logs, weights=freedom) if freedom.any() else logs.mean()
    own = (freedom * logs + 4.0 * usual) / (freedom + 4.0)
    return np.exp(own) / counts
