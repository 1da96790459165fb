"""Attention by the scores of all pairs, those that are not allowed masked; takes anything."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dt.model.attention.mask import attention_mask
from dt.model.attention.way import Inputs, Way


def whole(inputs: Inputs) -> Float[Array, "B Q H d"]:
    """Attend among all pairs of queries and keys; softmax in float32."""
    q, drop, (k, v) = inputs.q, inputs.drop, inputs.with_before()
    num_keys = inputs.k.shape[1]
    allowed = attention_mask(inputs.reach, inputs.queries, num_keys, inputs.real, inputs.before)
    # Heads first, as JAX's own function has them last: on a CPU that takes 1.5 times as long.
    q, k, v = (x.swapaxes(1, 2) for x in (q / np.sqrt(q.shape[-1]).astype(q.dtype), k, v))
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k, preferred_element_type=jnp.float32)
    lowest = jnp.finfo(scores.dtype).min
    weights = jax.nn.softmax(jnp.where(allowed[:, None], scores, lowest)).astype(v.dtype)
    weights = weights if drop is None else drop(weights)
    return jnp.einsum("bhqk,bhkd->bhqd", weights, v).swapaxes(1, 2)


WHOLE = Way("whole", lambda inputs: True, whole)
