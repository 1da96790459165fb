"""The head of bins of each number: any shape of spread, none assumed.

As Trajectory Transformer discretises (Janner et al. 2021, 3.1), but all numbers of an action are
predicted at once: they are independent given the past.
"""

from __future__ import annotations

import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from dt.model.heads.guidance import GuidedLogits
from dt.model.heads.kind import HeadInputs, HeadKind
from dt.model.heads.piecewise import Bins
from dt.model.heads.sampling import Sampling
from dt.model.recipe import Recipe


class BinsHead(GuidedLogits, nnx.Module):
    """Logits over K bins for each of A numbers; cross-entropy."""

    def __init__(
        self, width: int, edges: Float[np.ndarray, "A K1"], recipe: Recipe, *, rngs: nnx.Rngs
    ):
        """
        Args:
            edges: in the model's units, as `dt.spec.bins.bin_edges` places them.
        """
        self.bins = Bins.of(edges)
        num, most = self.bins.shape
        self.out = recipe.linear(width, num * most, rngs=rngs)

    def __call__(self, vectors: Float[Array, "*b D"]) -> Float[Array, "*b P"]:
        """Predict the logits of all numbers side by side, P = A K."""
        return self.out(vectors)

    def log_prob(
        self, prediction: Float[Array, "*b P"], actions: Float[Array, "*b A"]
    ) -> Float[Array, "*b"]:
        """Compute log-densities of actions in the model's units; -infinity outside of all bins."""
        return self.bins.log_density(self._logits(prediction), actions).sum(axis=-1)

    def loss(
        self,
        prediction: Float[Array, "*b P"],
        actions: Float[Array, "*b A"],
        key: Array | None = None,
    ) -> Float[Array, "*b"]:
        """Compute the cross-entropy of each step, in nats, summed over the numbers.

        Beyond the outermost edges a number counts as in the nearest bin.
        """
        del key
        return -self.bins.log_mass(self._logits(prediction), actions).sum(axis=-1)

    def act(
        self, prediction: Float[Array, "*b P"], key: Array, sampling: Sampling
    ) -> Float[Array, "*b A"]:
        return self.bins.sample(self._logits(prediction), key, sampling)

    def _logits(self, prediction: Float[Array, "*b P"]) -> Float[Array, "*b A K"]:
        return prediction.reshape(*prediction.shape[:-1], *self.bins.shape)


def _make(made_for: HeadInputs, rngs: nnx.Rngs) -> BinsHead:
    assert made_for.edges is not None, "checked where the kind says that it needs edges"
    return BinsHead(made_for.width, made_for.edges, made_for.recipe, rngs=rngs)


UNIFORM_BINS = HeadKind("bins-uniform", _make, needs_edges=True)
QUANTILE_BINS = HeadKind("bins-quantile", _make, needs_edges=True)
