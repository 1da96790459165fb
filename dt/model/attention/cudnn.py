"""Attention by cuDNN's fused kernels: on NVIDIA's cards, in 16 bits, with no scores in memory."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dt.model.attention.mask import attention_mask
from dt.model.attention.way import Inputs, Way


def takes(inputs: Inputs) -> bool:
    """Whether the kernels are there and take queries and keys of this kind."""
    q, num_keys = inputs.q, inputs.k.shape[1]
    if inputs.drop is not None or jax.default_backend() != "gpu":
        return False
    if q.dtype not in (jnp.bfloat16, jnp.float16):
        return False
    if inputs.before is not None:
        num_keys += inputs.before.real.shape[1]
    capability = getattr(jax.devices()[0], "compute_capability", "0")  # AMD's is a name
    recent = capability.replace(".", "", 1).isdigit() and float(capability) >= 8.0
    even = q.shape[1] % 2 == 0 and num_keys % 2 == 0  # asked for where there is a mask
    return recent and even and q.shape[-1] <= 128 and q.shape[-1] % 8 == 0


def cudnn(inputs: Inputs) -> Float[Array, "B Q H d"]:
    """Attend by a causal or banded kernel where those see the same, else by one with a mask."""
    window, n = inputs.reach
    num_keys = inputs.k.shape[1]
    k, v = inputs.with_before()
    causal = num_keys <= window * n
    all_queries = np.array_equal(inputs.queries, np.arange(num_keys))
    plain = inputs.real is None and inputs.before is None and all_queries
    if plain and (causal or n == 1):
        band = None if causal else (window - 1, 0)
        return jax.nn.dot_product_attention(
            inputs.q, k, v, is_causal=True, local_window_size=band, implementation="cudnn"
        )
    allowed = attention_mask(inputs.reach, inputs.queries, num_keys, inputs.real, inputs.before)
    return jax.nn.dot_product_attention(
        inputs.q, k, v, mask=allowed[:, None], implementation="cudnn"
    )


CUDNN = Way("cudnn", takes, cudnn)
