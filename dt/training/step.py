"""One update of the weights: a pure function of the training state and a batch."""

from __future__ import annotations

from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float

from dt.checkpoint.state import TrainState
from dt.config import TrainConfig
from dt.data.batches.windows import Batch
from dt.model.decision_transformer import DecisionTransformer, abstract_model
from dt.model.parameter_names import divided_names
from dt.spec.spec import PolicySpec
from dt.training.loss import loss_and_gradient, make_loss
from dt.training.optimizer import make_optimizer, make_schedule

Metrics: TypeAlias = dict[str, Float[Array, ""]]


class Learner:
    """What updates are made of for one model, optimiser and seed."""

    def __init__(self, spec: PolicySpec, config: TrainConfig):
        model = abstract_model(spec)
        self.graph, _ = nnx.split(model)
        # Which parameters are divided among devices, and along which axis.
        self.divided = divided_names(model.transformer.attends)
        self.spec = spec
        self.config = config
        self.optimizer = make_optimizer(config.optimizer, config.num_steps)
        self.schedule = make_schedule(config.optimizer, config.num_steps)
        self.loss = make_loss(self.graph)
        self.num_steps_of_window = config.model.context_length * config.data.windows_per_segment

    def init(self) -> TrainState:
        """Draw fresh weights from the seed."""
        model = DecisionTransformer(self.spec, rngs=nnx.Rngs(self.config.seed))
        params = nnx.state(model)
        return TrainState(params, self.optimizer.init(params), jnp.zeros((), jnp.int32))

    def train_step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Make one update. Pure; randomness comes from (seed, step) alone.

        Where the loss or the gradient is not finite, parameters and optimiser stay as they were:
        damage never spreads, whatever is decided about it later.

        Returns:
            The new state and what is measured, with `skipped`, 1 where the update is left out.
        """
        key = jax.random.fold_in(jax.random.key(self.config.seed), state.step)
        null_key, dropout_key = jax.random.split(key)
        is_null = jax.random.bernoulli(
            null_key, self.config.model.return_dropout, (len(batch.mask),)
        )
        num_micro_batches = self.config.data.num_micro_batches
        loss, grads = loss_and_gradient(
            self.loss, state.params, batch, is_null, dropout_key, num_micro_batches
        )
        updates, optimizer = self.optimizer.update(grads, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {
            "loss": loss.total,
            "grad_norm": optax.tree.norm(grads),
            **{f"{name}_loss": part for name, part in loss.parts.items()},
        }
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
        params, optimizer = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old),
            (params, optimizer),
            (state.params, state.optimizer),
        )
        metrics["skipped"] = (~finite).astype(jnp.float32)
        return TrainState(params, optimizer, state.step + 1), metrics
