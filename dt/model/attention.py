"""Which tokens does a token see, and which kernel computes it?

Axes: B batch, T timesteps, n tokens a timestep, Q queries, K = T * n keys, H heads, d head size.
All ways compute the same function (tests compare them); they differ in speed and memory:

- whole: scores of all pairs, those not allowed masked. For segments of one window.
- blocks: a segment of several windows in blocks of one window, each of which attends to itself and
  to the block before it. Exact, as nobody sees further, and linear in the length of the segment.
- cuDNN computes either on NVIDIA's cards, in 16 bits, and never writes scores to memory.
- splash does so on a TPU, and skips blocks of scores that are masked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Drop = Callable[[Array], Array]
LANES = 128  # of a TPU; splash works on multiples of them


class Prefix(NamedTuple):
    """Tokens that stand before a sequence, seen by all of it and by each other in order."""

    vectors: Any  # (B, P, D)
    real: Any  # (B, P) Booleans: those that are there


class Before(NamedTuple):
    """The same in one layer: what every query sees besides its window."""

    keys: Any  # (B, P, H, d)
    values: Any  # (B, P, H, d)
    real: Any  # (B, P)


class Reach(NamedTuple):
    """A token sees those before it, and itself, of its own and the last `window` - 1 timesteps."""

    window: int
    tokens_per_step: int

    def mask(
        self, queries: Int[np.ndarray, " Q"], keys: Int[np.ndarray, " K"]
    ) -> Bool[np.ndarray, "Q K"]:
        """Whether the token at one position sees that at another."""
        n, q, k = self.tokens_per_step, queries[:, None], keys[None, :]
        return (k <= q) & (k // n > q // n - self.window)


def attend(
    q: Float[Array, "B Q H d"],
    k: Float[Array, "B K H d"],
    v: Float[Array, "B K H d"],
    real: Bool[Array, "B T"] | None,
    reach: Reach,
    queries: Int[np.ndarray, " Q"],
    drop: Drop | None = None,
    before: Before | None = None,
) -> Float[Array, "B Q H d"]:
    """What each query sees, weighed by softmax.

    Args:
        real: timesteps that are not padding, which nobody real sees; what comes out for padding
            itself is finite and means nothing. None: there is none, or it stands last, where
            causality hides it.
        queries: positions of the queries among the keys; the same in every timestep, or few.
        drop: leaves out some of the weights.
        before: what all queries see, wherever they stand.
    """
    window, n = reach
    num_steps = k.shape[1] // n
    alone = drop is None and before is None
    if alone and splash_takes(jax.default_backend(), jax.device_count(), q.shape[-1]):
        return splash(q, k, v, real, reach, queries)
    banded = n == 1 and real is None and alone and cudnn_takes(q, k)
    divides = num_steps % window == 0 and len(queries) % num_steps == 0
    if num_steps > window and divides and not banded:
        return blocks(q, k, v, real, reach, queries, drop, before)
    return whole(q, k, v, real, reach, queries, drop, before)


def whole(
    q: Float[Array, "B Q H d"],
    k: Float[Array, "B K H d"],
    v: Float[Array, "B K H d"],
    real: Bool[Array, "B T"] | None,
    reach: Reach,
    queries: Int[np.ndarray, " Q"],
    drop: Drop | None = None,
    before: Before | None = None,
) -> Float[Array, "B Q H d"]:
    """All pairs of queries and keys; softmax in float32."""
    window, n = reach
    keys = np.arange(k.shape[1])
    if before is not None:
        k, v = (jnp.concatenate(pair, axis=1) for pair in ((before.keys, k), (before.values, v)))
    fused = drop is None and cudnn_takes(q, k)
    causal = len(keys) <= window * n
    plain = real is None and before is None and np.array_equal(queries, keys)
    if fused and plain and (causal or n == 1):
        band = None if causal else (window - 1, 0)
        return jax.nn.dot_product_attention(
            q, k, v, is_causal=True, local_window_size=band, implementation="cudnn"
        )
    allowed = jnp.asarray(reach.mask(queries, keys))[None]  # (1, Q, K)
    if real is not None:
        itself = queries[:, None] == keys  # so that no softmax is empty
        allowed = (allowed & jnp.repeat(real, n, axis=1)[:, None]) | itself
    if before is not None:
        seen = jnp.broadcast_to(before.real[:, None], (len(q), len(queries), before.real.shape[1]))
        allowed = jnp.broadcast_to(allowed, (len(q), *allowed.shape[1:]))
        allowed = jnp.concatenate([seen, allowed], axis=2)
    if fused:
        return jax.nn.dot_product_attention(q, k, v, mask=allowed[:, None], implementation="cudnn")
    # Heads first, as JAX's own function has them last: on a CPU that takes 1.5 times as long.
    q, k, v = (x.swapaxes(1, 2) for x in (q / np.sqrt(q.shape[-1]).astype(q.dtype), k, v))
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k, preferred_element_type=jnp.float32)
    lowest = jnp.finfo(scores.dtype).min
    weights = jax.nn.softmax(jnp.where(allowed[:, None], scores, lowest)).astype(v.dtype)
    weights = weights if drop is None else drop(weights)
    return jnp.einsum("bhqk,bhkd->bhqd", weights, v).swapaxes(1, 2)


def blocks(
    q: Float[Array, "B Q H d"],
    k: Float[Array, "B K H d"],
    v: Float[Array, "B K H d"],
    real: Bool[Array, "B T"] | None,
    reach: Reach,
    queries: Int[np.ndarray, " Q"],
    drop: Drop | None = None,
    before: Before | None = None,
) -> Float[Array, "B Q H d"]:
    """A window of queries at a time, against the keys of its own window and the one before."""
    B, count = len(q), k.shape[1] // (reach.window * reach.tokens_per_step)
    queries_each = len(queries) // count

    def first(x: Any) -> Any:
        return None if x is None else x[:, : x.shape[1] // count]

    def others(x: Array) -> Array:  # (B * (count - 1), tokens of a block, ...)
        blocks = x.reshape(B, count, -1, *x.shape[2:])[:, 1:]
        return blocks.reshape(B * (count - 1), -1, *x.shape[2:])

    def with_those_before(x: Any) -> Any:  # two blocks instead of one
        if x is None:
            return None
        blocks = x.reshape(B, count, -1, *x.shape[2:])
        pairs = jnp.concatenate([blocks[:, :-1], blocks[:, 1:]], axis=2)
        return pairs.reshape(B * (count - 1), -1, *x.shape[2:])

    places, second = queries[:queries_each], queries[queries_each : 2 * queries_each]
    begin = whole(first(q), first(k), first(v), first(real), reach, places, drop, before)
    k, v, real = map(with_those_before, (k, v, real))
    if before is not None:
        before = Before(*(jnp.repeat(x, count - 1, axis=0) for x in before))
    rest = whole(others(q), k, v, real, reach, second, drop, before)
    return jnp.concatenate([begin, rest.reshape(B, -1, *rest.shape[2:])], axis=1)


def within(
    q: Float[Array, "B P H d"], before: Before, drop: Drop | None = None
) -> Float[Array, "B P H d"]:
    """What tokens before a sequence see of each other, in their order."""
    count = q.shape[1]
    reach = Reach(count, 1)
    return whole(q, before.keys, before.values, before.real, reach, np.arange(count), drop)


def cudnn_takes(q: Any, k: Any) -> bool:
    """Whether cuDNN's fused attention is there and takes queries and keys of this kind."""
    if jax.default_backend() != "gpu" or q.dtype not in (jnp.bfloat16, jnp.float16):
        return False
    capability = getattr(jax.devices()[0], "compute_capability", "0")  # AMD's is a name
    recent = capability.replace(".", "", 1).isdigit() and float(capability) >= 8.0
    even = q.shape[1] % 2 == 0 and k.shape[1] % 2 == 0  # asked for where there is a mask
    return recent and even and q.shape[-1] <= 128 and q.shape[-1] % 8 == 0


def splash_takes(platform: str, num_devices: int, head_dim: int) -> bool:
    """Whether there is one TPU, as the compiler cannot divide splash over several by itself."""
    return platform == "tpu" and num_devices == 1 and head_dim % LANES == 0


def splash(
    q: Float[Array, "B Q H d"],
    k: Float[Array, "B K H d"],
    v: Float[Array, "B K H d"],
    real: Bool[Array, "B T"] | None,
    reach: Reach,
    queries: Int[np.ndarray, " Q"],
    interpret: bool = False,
) -> Float[Array, "B Q H d"]:
    """Pallas' kernel for TPUs.

    Args:
        interpret: without a TPU, slowly, for tests.
    """
    # Not at the top: only a TPU needs it, and it takes its time.
    from jax.experimental.pallas.ops.tpu import splash_attention

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
    """With zeros on the second axis, up to whole lanes."""
    return jnp.pad(x, [(0, 0), (0, -x.shape[1] % LANES)] + [(0, 0)] * (x.ndim - 2))
