"""Classifier-free guidance: what a head says with and without the condition, drawn apart.

Ho and Salimans 2022, for actions: log p_w = log p_u + w (log p_c - log p_u) - log Z, where c is
told the return and u sees the null token in its place. A weight of 0 is the unconditional policy, 1
the conditional one; above 1 the condition counts for more than in the data.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def extrapolate(
    conditional: Float[Array, "*b P"],
    unconditional: Float[Array, "*b P"],
    weight: Float[Array, "*b 1"],
) -> Float[Array, "*b P"]:
    """Compute u + w (c - u); where w is 0 or 1, u or c to the last bit.

    Of logits it is the guided distribution's, up to the constant that a softmax takes away.
    """
    between = unconditional + weight * (conditional - unconditional)
    return jnp.where(weight == 1, conditional, jnp.where(weight == 0, unconditional, between))


class GuidedLogits:
    """A head whose prediction is logits, of one choice or of several side by side."""

    def guide(
        self,
        conditional: Float[Array, "*b P"],
        unconditional: Float[Array, "*b P"],
        weight: Float[Array, "*b 1"],
    ) -> Float[Array, "*b P"]:
        """Add w times the difference of the logits: log p_u + w (log p_c - log p_u) - log Z."""
        return extrapolate(conditional, unconditional, weight)
