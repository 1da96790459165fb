"""Attention by Pallas' splash kernel: on one TPU, skipping blocks of scores that are masked."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dt.model.attention.way import Inputs, Way

LANES = 128  # of a TPU; splash works on multiples of them


def takes(inputs: Inputs) -> bool:
    """Whether the kernel is there and nothing is dropped or stands before the sequence."""
    alone = inputs.drop is None and inputs.before is None
    head_dim = inputs.q.shape[-1]
    return alone and runs_on(jax.default_backend(), jax.device_count(), head_dim)


def runs_on(platform: str, num_devices: int, head_dim: int) -> bool:
    """Whether there is one TPU, as the compiler cannot divide splash over several by itself."""
    return platform == "tpu" and num_devices == 1 and head_dim % LANES == 0


def splash(inputs: Inputs, interpret: bool = False) -> Float[Array, "B Q H d"]:
    """Attend by Pallas' kernel for TPUs.

    Args:
        interpret: without a TPU, slowly, for tests.
    """
    # Not at the top: only a TPU needs it, and it takes its time.
    from jax.experimental.pallas.ops.tpu import splash_attention

    q, k, v, real, reach, queries, _, _ = inputs
    (_, Q, H, d), K = q.shape, k.shape[1]
    # Queries that fill up the lanes are copies of the first, keys are seen by nobody.
    queries = np.concatenate([queries, np.repeat(queries[:1], -Q % LANES)])
    mask = np.pad(reach.mask(queries, np.arange(K)), [(0, 0), (0, -K % LANES)])
    kernel = splash_attention.make_splash_mha(
        splash_attention.MultiHeadMask([splash_attention.NumpyMask(mask)] * H),
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
    )
    segments = None
    if real is not None:  # segments do not see each other
        ids = jnp.repeat(real, reach.tokens_per_step, axis=1).astype(jnp.int32)
        segments = splash_attention.SegmentIds(q=ids[:, queries], kv=_filled(ids))
    heads_first = [_filled(x).swapaxes(1, 2) for x in (q * d**-0.5, k, v)]
    mixed = jax.vmap(kernel)(*heads_first, segments)
    return mixed.swapaxes(1, 2)[:, :Q].astype(q.dtype)


def _filled(x: Array) -> Array:
    """Pad the second axis with zeros, up to whole lanes."""
    return jnp.pad(x, [(0, 0), (0, -x.shape[1] % LANES)] + [(0, 0)] * (x.ndim - 2))


SPLASH = Way("splash", takes, splash)
