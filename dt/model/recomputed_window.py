"""What a model remembers that computes its last timesteps anew at every step: the timesteps.

As Chen et al. 2021 act. Unlike a ring cache, which keeps what was computed of them, each step costs
the whole window; it is for models that were trained on windows alone, such as imported ones.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dt.data.batches.windows import Action, Observation
from dt.model.attention.mask import Prefix

Tree = TypeVar("Tree")


class Moment(NamedTuple):
    """What is new at one step of acting: the action just taken, and what it led to."""

    previous_action: Action  # (B, ...)
    observation: Observation  # (B, ...)
    return_to_go: Float[Array, " B"]
    timestep: Int[Array, " B"]
    # The return that was asked for when the action was taken; None: the same as now.
    previous_return: Float[Array, " B"] | None = None


class RecomputedWindow(NamedTuple):
    """The last K timesteps of every row, the newest last; places not yet taken stand first."""

    # Embedded: they depend on nothing else, and to embed 30 pictures anew would cost more than all
    # the rest.
    observations: Float[Array, "B K D"]
    actions: Action  # (B, K, ...)
    returns_to_go: Float[Array, "B K"]
    timesteps: Int[Array, "B K"]
    mask: Bool[Array, "B K"]  # which places are taken
    prefix: Prefix | None = None  # the tokens before all of them

    @classmethod
    def empty(
        cls, num_steps: int, width: int, action: Action, prefix: Prefix | None = None
    ) -> RecomputedWindow:
        """Make a window that holds nothing yet.

        Args:
            action: any, (B, ...): the window's have the shapes and types of this one's parts.
        """
        shape = (len(action.numbers), num_steps)
        return cls(
            observations=jnp.zeros((*shape, width)),
            actions=jax.tree.map(
                lambda part: jnp.zeros((*shape, *part.shape[1:]), part.dtype), action
            ),
            returns_to_go=jnp.zeros(shape, jnp.float32),
            timesteps=jnp.zeros(shape, jnp.int32),
            mask=jnp.zeros(shape, bool),
            prefix=prefix,
        )

    def emptied(self, rows: Bool[Array, " B"]) -> RecomputedWindow:
        """Forget all of these rows. Zeros, not only the mask: a NaN would outlast masking."""
        steps = self._replace(prefix=None)
        emptied = jax.tree.map(lambda past: _zeroed(past, rows), steps)
        return emptied._replace(prefix=self.prefix)

    def begun(self, rows: Bool[Array, " B"], prefix: Prefix) -> RecomputedWindow:
        """Put before these rows what all of their tokens shall see."""

        def chosen(new: Array, old: Array) -> Array:
            return jnp.where(rows.reshape(-1, *[1] * (old.ndim - 1)), new, old)

        return self._replace(prefix=jax.tree.map(chosen, prefix, self.prefix))

    def advanced(self, moment: Moment, observed: Float[Array, "B D"]) -> RecomputedWindow:
        """Go one timestep on: the oldest falls out, and the action taken completes the newest.

        The new timestep's own action is not known yet: a zero that nothing attends to stands for
        it.

        Args:
            observed: the vector of the moment's observation.
        """
        first = ~self.mask[:, -1]  # an episode's first step has no action before it
        actions = jax.tree.map(
            lambda past, taken: past.at[:, -1].set(_zeroed(taken, first)),
            self.actions,
            moment.previous_action,
        )
        return RecomputedWindow(
            observations=_pushed(self.observations, observed),
            actions=_pushed(actions, jax.tree.map(jnp.zeros_like, moment.previous_action)),
            returns_to_go=_pushed(self.returns_to_go, moment.return_to_go),
            timesteps=_pushed(self.timesteps, moment.timestep),
            mask=_pushed(self.mask, jnp.ones(len(self.mask), bool)),
            prefix=self.prefix,
        )


def _pushed(past: Tree, new: Tree) -> Tree:
    """Drop the oldest timestep and append the new one."""
    return jax.tree.map(lambda p, n: jnp.concatenate([p[:, 1:], n[:, None]], axis=1), past, new)


def _zeroed(values: Array, rows: Bool[Array, " B"]) -> Array:
    return jnp.where(rows.reshape(-1, *[1] * (values.ndim - 1)), jnp.zeros_like(values), values)
