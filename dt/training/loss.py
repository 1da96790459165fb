"""The loss of a batch: a mean over its real steps, the parts it is made of, and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.data.batches.windows import Batch
from dt.model.decision_transformer import DecisionTransformer
from dt.model.params import Params
from dt.spaces.arrays import AnyArray

Parts: TypeAlias = dict[str, Float[Array, ""]]


@runtime_checkable
class Masked(Protocol):
    """A batch of B rows, a tree of arrays (B, ...); losses count where `mask` is True."""

    @property
    def mask(self) -> AnyArray: ...


class Loss(NamedTuple):
    """A batch's loss and, by name and not weighted, the parts that it is the sum of."""

    total: Float[Array, ""]
    parts: Parts


LossFunction: TypeAlias = Callable[
    [Params, Any, Bool[Array, " b"], Array, Int[Array, ""]], tuple[Float[Array, ""], Parts]
]
"""Parameters, a `Masked` batch of b rows, which of them do not see their return, a key, and the
count that summed losses are divided by -> the total, and its parts by name."""


def make_loss(graph: nnx.GraphDef[DecisionTransformer], training: bool = True) -> LossFunction:
    """Make the loss of the model whose structure this is, as a pure function of its parameters.

    The function takes the parameters, a batch of b rows (B, T, ...), which rows do not see their
    return, a key for dropout and for heads that draw, and the count that summed losses are divided
    by: padding counts on neither side. It returns the total and its parts by name.

    Args:
        training: with dropout; without, the loss is that of the model as it acts.
    """

    def loss(
        params: Params,
        batch: Batch,
        is_null: Bool[Array, " b"],
        key: Array,
        count: Int[Array, ""],
    ) -> tuple[Float[Array, ""], Parts]:
        model = nnx.merge(graph, params)
        # Batches are padded on the right, where causal attention needs no mask.
        unmasked = batch._replace(mask=None)
        rngs = nnx.Rngs(dropout=key) if training else None
        # nnx.Rngs folds small counts into its key; the other half of a split is none of those.
        total, parts = model.losses(unmasked, is_null, jax.random.split(key)[1], rngs=rngs)

        def mean(losses: Float[Array, "b T"]) -> Float[Array, ""]:
            return jnp.where(batch.mask, losses, 0.0).sum() / count

        return mean(total), {name: mean(part) for name, part in parts.items()}

    return loss


def loss_and_gradient(
    loss: LossFunction,
    params: Params,
    batch: Masked,
    is_null: Bool[Array, " B"],
    key: Array,
    num_micro_batches: int = 1,
) -> tuple[Loss, Params]:
    """Sum the batch's loss and gradient over micro-batches, which fit a cache or little memory.

    Each micro-batch's sum is divided by the count of the whole batch: a mean of means would weigh
    steps by how much padding they happen to lie beside. A micro-batch takes every
    num_micro_batches-th row, so that each device finds its share among its own rows.
    """
    count = batch.mask.sum()
    rows = jax.tree.map(
        lambda x: x.reshape(len(x) // num_micro_batches, num_micro_batches, *x.shape[1:]).swapaxes(
            0, 1
        ),
        (batch, is_null),
    )
    gradient = jax.value_and_grad(loss, has_aux=True)

    def add(
        sums: tuple[Float[Array, ""], Params], part: tuple[tuple[Masked, Array], Array]
    ) -> tuple[tuple[Float[Array, ""], Params], Parts]:
        (batch, is_null), key = part
        (total, parts), grads = gradient(params, batch, is_null, key, count)
        return jax.tree.map(jnp.add, sums, (total, grads)), parts

    zeros = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
    keys = jax.random.split(key, num_micro_batches)
    (total, grads), parts = jax.lax.scan(add, zeros, (rows, keys))
    return Loss(total, jax.tree.map(lambda part: part.sum(), parts)), grads
