"""Returns and when they are asked for, as vectors; or a learned null vector for no return."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from dt.model.layers import Linear
from dt.model.recipe import EMBEDDING_INIT


class ReturnEmbedding(nnx.Module):
    """Embeds a return and when it is asked for; or gives the learned null vector for no return.

    One hidden layer whose kinks are spread over the data's range (a normalised return is mostly
    within +-2), so that returns 10 % apart can get unlike vectors; a single linear map cannot
    tell them apart once the layer norms have removed its length. The time stands beside the
    return, as the same return to go is much to ask for late in an episode and little early on.
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        spread = nnx.initializers.uniform(6.0)  # biases in [0, 6), shifted to [-3, 3) below
        self.hidden = Linear(
            2,
            width,
            kernel_init=nnx.initializers.normal(2.0),
            bias_init=lambda *args: spread(*args) - 3.0,
            rngs=rngs,
        )
        self.out = Linear(width, width, rngs=rngs)
        self.null = nnx.Param(EMBEDDING_INIT(rngs.params(), (width,)))

    def __call__(
        self, returns: Float[Array, "*b"], time: Float[Array, "*b"], is_null: Bool[Array, "*b"]
    ) -> Float[Array, "*b D"]:
        """Embed normalised returns.

        Args:
            time: from -2 at the start of an episode to 2 at the longest one's end.
            is_null: where the null vector stands in place of a return.
        """
        vectors = self.out(jax.nn.gelu(self.hidden(jnp.stack([returns, time], axis=-1))))
        return jnp.where(is_null[..., None], self.null[...], vectors)
