"""What does a model remember that computes its last timesteps anew at every step? The timesteps.

As Chen et al. 2021 act. Unlike a ring cache, which keeps what was computed of them, each step costs
the whole window; it is for models that were trained on windows alone, such as imported ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from dt.data.batches.windows import Action, Batch


class Moment(NamedTuple):
    """What is new at one step of acting: the action just taken, and what it led to."""

    previous_action: Action  # (B, ...)
    observation: Any  # an `Observation`, (B, ...); in a window the vector of one, (B, D)
    return_to_go: Any  # (B,) float32
    timestep: Any  # (B,) int32
    previous_return: Any = None  # (B,) float32: what was asked for when the action was taken


class Window(NamedTuple):
    """The last K timesteps of every row, the newest last; places not yet taken stand first."""

    steps: Batch  # (B, K, ...); `mask` says which places are taken
    prefix: Any = None  # a `dt.model.attention.Prefix`: the tokens before all of them

    @classmethod
    def empty(cls, num_steps: int, moment: Moment, prefix: Any = None) -> Window:
        """Nothing yet, in the shapes of what is to come."""

        def zeros(values: Any) -> Any:
            return jax.tree.map(
                lambda new: jnp.zeros((len(new), num_steps, *new.shape[1:]), new.dtype), values
            )

        return cls(
            Batch(
                observations=zeros(moment.observation),
                actions=zeros(moment.previous_action),
                returns_to_go=zeros(moment.return_to_go),
                timesteps=zeros(moment.timestep),
                mask=jnp.zeros((len(moment.timestep), num_steps), bool),
            ),
            prefix,
        )

    def emptied(self, rows: Bool[Array, " B"]) -> Window:
        """Forget all of these rows. Zeros, not only the mask: a NaN would outlast masking."""
        return self._replace(steps=jax.tree.map(lambda past: _zeroed(past, rows), self.steps))

    def begun(self, rows: Bool[Array, " B"], prefix: Any) -> Window:
        """Put before these rows what all of their tokens shall see."""

        def chosen(new: Array, old: Array) -> Array:
            return jnp.where(rows.reshape(-1, *[1] * (old.ndim - 1)), new, old)

        return self._replace(prefix=jax.tree.map(chosen, prefix, self.prefix))

    def advanced(self, moment: Moment) -> Window:
        """One timestep on: the action just taken completes the newest, and the oldest falls out.

        The new timestep's own action is not known yet: a zero that nothing attends to stands for
        it.
        """
        first = ~self.steps.mask[:, -1]  # an episode's first step has no action before it

        def pushed(past: Any, new: Any) -> Any:
            return jax.tree.map(
                lambda p, n: jnp.concatenate([p[:, 1:], n[:, None]], axis=1), past, new
            )

        actions = jax.tree.map(
            lambda past, taken: past.at[:, -1].set(_zeroed(taken, first)),
            self.steps.actions,
            moment.previous_action,
        )
        return Window(
            Batch(
                observations=pushed(self.steps.observations, moment.observation),
                actions=pushed(actions, jax.tree.map(jnp.zeros_like, moment.previous_action)),
                returns_to_go=pushed(self.steps.returns_to_go, moment.return_to_go),
                timesteps=pushed(self.steps.timesteps, moment.timestep),
                mask=pushed(self.steps.mask, jnp.ones(len(self.steps.mask), bool)),
            ),
            self.prefix,
        )


def _zeroed(values: Array, rows: Bool[Array, " B"]) -> Array:
    return jnp.where(rows.reshape(-1, *[1] * (values.ndim - 1)), jnp.zeros_like(values), values)
