"""What training asks of whatever is learned: batches with a mask, a loss, weights, and a feed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from dt.checkpoint.state import TrainState
from dt.config import RunConfig
from dt.model.params import Params
from dt.spec.serialize import Spec
from dt.training.loss import LossFunction, Masked, loss_and_gradient
from dt.training.optimizer import make_optimizer, make_schedule

Metrics: TypeAlias = dict[str, Float[Array, ""]]
# Trees of arrays, whose kinds the learner and its feed agree on between them.
OnDevice: TypeAlias = Any
"""The data as it lies on the devices; None where batches are read instead."""
AnyDraw: TypeAlias = Any
"""What a feed draws for U updates; every array is (U, B, ...)."""


@runtime_checkable
class AnyFeed(Protocol):
    """Gives the compiled training program its data."""

    steps: OnDevice
    updates_per_round: int

    def round(self, step: int, next_step: int) -> AnyDraw:
        """Draw the updates from `step` on; the following round begins at `next_step`."""
        ...

    def holdout_draw(self) -> AnyDraw | None:
        """Draw batches that are held out, always the same; None where there are none."""
        ...

    def describe(self, step: int) -> str:
        """Say where the batch of the update after `step` comes from."""
        ...

    def close(self) -> None:
        """Let go of threads and files."""
        ...


class AnyLearner(ABC):
    """What updates are made of for one model, optimiser and seed."""

    spec: Spec
    """What a checkpoint holds besides weights."""
    divided: Mapping[tuple[str, ...], int]
    """Parameters that a mesh divides over `model`; see `dt.model.parameter_names`."""

    def __init__(self, config: RunConfig):
        self.config = config
        self.optimizer = make_optimizer(config.optimizer, config.num_steps)
        self.schedule = make_schedule(config.optimizer, config.num_steps)
        self.loss = self.make_loss(training=True)

    @abstractmethod
    def make_loss(self, training: bool) -> LossFunction:
        """Make the loss as a pure function of parameters; with dropout only in training."""

    @abstractmethod
    def fresh(self) -> Params:
        """Draw fresh weights from the seed."""

    def given(self) -> Params | None:
        """Read weights to begin with, arrays of the host; None: `fresh` ones are."""
        return None

    @abstractmethod
    def cut(self, steps: OnDevice, draw: AnyDraw) -> Masked:
        """Make a batch of what a feed drew for one update, within the compiled program."""

    def init(self) -> TrainState:
        """Make the state before the first update."""
        params = self.fresh()
        return TrainState(params, self.optimizer.init(params), jnp.zeros((), jnp.int32))

    def train_step(self, state: TrainState, batch: Masked) -> tuple[TrainState, Metrics]:
        """Make one update. Pure; randomness comes from (seed, step) alone.

        Where the loss or the gradient is not finite, parameters and optimiser stay as they were:
        damage never spreads, whatever is decided about it later.

        Returns:
            The new state and what is measured, with `skipped`, 1 where the update is left out.
        """
        key = jax.random.fold_in(jax.random.key(self.config.seed), state.step)
        null_key, dropout_key = jax.random.split(key)
        is_null = jax.random.bernoulli(null_key, self.config.return_dropout, (len(batch.mask),))
        num_micro_batches = self.config.num_micro_batches
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
