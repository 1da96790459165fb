"""How does one batch change the weights? A pure step, and many of them in one program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.checkpoint.state import TrainState
from dt.config import TrainConfig
from dt.data.batches.windows import Batch, Steps, Windows, gather
from dt.model.decision_transformer import DecisionTransformer, abstract_model
from dt.parallel.mesh import keep
from dt.spec.spec import PolicySpec
from dt.training.optimizer import Transformation, make_optimizer

Metrics = dict[str, Float[Array, ""] | Int[Array, ""]]


class Learner:
    """The compiled pieces of training for one model, optimiser and seed."""

    def __init__(self, spec: PolicySpec, config: TrainConfig):
        self.graph, _ = nnx.split(abstract_model(spec))
        self.spec = spec
        self.config = config
        self.optimizer: Transformation = make_optimizer(config.optimizer, config.num_steps)
        self.num_steps_of_window = config.model.context_length * config.data.windows_per_segment

    def init(self) -> TrainState:
        """Fresh weights from the seed."""
        model = DecisionTransformer(self.spec, rngs=nnx.Rngs(self.config.seed))
        params = nnx.state(model)
        return TrainState(params, self.optimizer.init(params), jnp.zeros((), jnp.int32))

    def train_step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """One update. Pure; randomness comes from (seed, step) alone.

        Where the loss or the gradient is not finite, parameters and optimiser stay as they were
        and `skipped` is 1: damage never spreads, whatever is decided about it later.
        """
        key = jax.random.fold_in(jax.random.key(self.config.seed), state.step)
        null_key, dropout_key = jax.random.split(key)
        is_null = jax.random.bernoulli(
            null_key, self.config.model.return_dropout, (len(batch.mask),)
        )
        loss, grads = self.loss_and_gradient(state.params, batch, is_null, dropout_key)
        updates, optimizer = self.optimizer.update(grads, state.optimizer, state.params)
        params = jax.tree.map(lambda p, u: (p + u).astype(p.dtype), state.params, updates)
        metrics = {"loss": loss, "grad_norm": global_norm(grads)}
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
        params, optimizer = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old),
            (params, optimizer),
            (state.params, state.optimizer),
        )
        metrics["skipped"] = (~finite).astype(jnp.float32)
        return TrainState(params, optimizer, state.step + 1), metrics

    def loss_and_gradient(
        self, params: Any, batch: Batch, is_null: Bool[Array, " B"], dropout_key: Array
    ) -> tuple[Float[Array, ""], Any]:
        """The batch's loss and gradient, summed over micro-batches that fit the cache.

        Each micro-batch's sum is divided by the count of the whole batch: a mean of means would
        weigh steps by how much padding they happen to lie beside. A micro-batch takes every
        num_micro_batches-th row, so that each device finds its share among its own rows.
        """
        num_micro = self.config.data.num_micro_batches
        count = batch.mask.sum()
        parts = jax.tree.map(
            lambda x: x.reshape(len(x) // num_micro, num_micro, *x.shape[1:]).swapaxes(0, 1),
            (batch, is_null),
        )
        gradient = jax.value_and_grad(self.loss_fn)

        def add(carry: Any, part: Any) -> tuple[Any, None]:
            (rows, null), key = part
            return jax.tree.map(jnp.add, carry, gradient(params, rows, null, key, count)), None

        zeros = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
        keys = jax.random.split(dropout_key, num_micro)
        return jax.lax.scan(add, zeros, (parts, keys))[0]

    def loss_fn(
        self,
        params: Any,
        batch: Batch,
        is_null: Bool[Array, " b"],
        dropout_key: Array,
        count: Int[Array, ""],
    ) -> Float[Array, ""]:
        """Summed loss of the real steps, over `count`: padding counts on neither side."""
        model = nnx.merge(self.graph, params)
        # Batches are padded on the right, where causal attention needs no mask.
        unmasked = batch._replace(mask=None)
        rngs = nnx.Rngs(dropout=dropout_key)
        # nnx.Rngs folds small counts into its key; the other half of a split is none of those.
        losses, _ = model.losses(unmasked, is_null, jax.random.split(dropout_key)[1], rngs=rngs)
        return jnp.where(batch.mask, losses, 0.0).sum() / count

    def make_train_steps(self, layout: Any = None) -> Callable[..., Any]:
        """The compiled program that runs updates of one round.

        Its arguments are the state (donated), the data on the device, windows of shape (U, B) for
        up to U updates, how many of the U to run, and the first of them (0 unless given): one
        program serves every round and every part of one. Without the data, the batches themselves
        stand in the windows' place. It returns the new state and the metrics' means over the
        updates that were not skipped, with `skipped`, their number, and of the first of them its
        place in the draw, `first_skipped` (-1 for none), with its loss and gradient.

        Args:
            layout: how the state lies on the devices (`mesh.shardings`), and shall stay.
        """

        def train_steps(
            state: TrainState,
            steps: Steps | None,
            draw: Windows | Batch,
            num_updates: Array,
            first: Any = 0,
        ) -> tuple[TrainState, Metrics]:
            def update(i: Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
                state, sums = carry
                batch = jax.tree.map(lambda field: field[i], draw)
                if steps is not None:
                    batch = gather(steps, batch, self.num_steps_of_window, self.spec.prefix_steps)
                state, metrics = self.train_step(state, batch)
                if layout is not None:  # else the compiler might gather what is shared out
                    state = keep(state, layout)
                return state, _add_metrics(sums, metrics, i)

            zero = jnp.zeros(())
            names = ("loss", "grad_norm", "skipped", "skipped_loss", "skipped_grad_norm")
            sums = {**dict.fromkeys(names, zero), "first_skipped": jnp.int32(-1)}
            end = first + num_updates
            state, sums = jax.lax.fori_loop(first, end, update, (state, sums))
            count = jnp.maximum(num_updates - sums["skipped"], 1)
            return state, {**sums, **{name: sums[name] / count for name in ("loss", "grad_norm")}}

        out = None if layout is None else (layout, None)
        return jax.jit(train_steps, donate_argnums=0, out_shardings=out)


def _add_metrics(sums: Metrics, metrics: Metrics, i: Array) -> Metrics:
    """Sums over the updates that count; of the first that does not, all there is to say."""
    skipped = metrics["skipped"] > 0
    is_first = skipped & (sums["first_skipped"] < 0)
    return {
        "loss": sums["loss"] + jnp.where(skipped, 0, metrics["loss"]),
        "grad_norm": sums["grad_norm"] + jnp.where(skipped, 0, metrics["grad_norm"]),
        "skipped": sums["skipped"] + metrics["skipped"],
        "first_skipped": jnp.where(is_first, i, sums["first_skipped"]),
        "skipped_loss": jnp.where(is_first, metrics["loss"], sums["skipped_loss"]),
        "skipped_grad_norm": jnp.where(is_first, metrics["grad_norm"], sums["skipped_grad_norm"]),
    }


def global_norm(grads: Any) -> Float[Array, ""]:
    """Length of the whole gradient, before clipping."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in jax.tree.leaves(grads)))
