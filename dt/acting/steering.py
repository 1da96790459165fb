"""What steers a policy beside its options: a request, a soft prefix, and edits at named points.

All of it is plain numbers, made for one set of weights. `dt.checkpoint.steer_file` keeps it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dt.model.decision_transformer import names_of_points
from dt.model.edits import Edit
from dt.model.inputs import ACTION, CATEGORIES, OBSERVATION, RETURN
from dt.model.points import Change, check_names
from dt.model.recomputed_window import Moment
from dt.spec.codec import Codec
from dt.spec.spec import PolicySpec

Held = dict[str, Array]
"""By the names of frozen inputs, what each row had there when it was frozen, (B, ...)."""


@dataclass(frozen=True, eq=False)
class Steering:
    """An input, or a change inside, by which a policy acts; the weights stay as they are."""

    request: float | None = None
    """The return to ask for, whatever the target is; None: the target."""
    guidance: tuple[float, float, float] | None = None
    """`ActingOptions.guidance_numbers`; None: those of the options."""
    prefix: Float[np.ndarray, "n D"] | None = None
    """Vectors that stand before all tokens."""
    edits: Mapping[str, Edit] = field(default_factory=dict)
    """What is put in place of what stands at named points."""

    def check(self, spec: PolicySpec) -> None:
        """Refuse what a model of this kind cannot do.

        Raises:
            ValueError: for points that it does not have, a request that it takes none of, vectors
                of another width, and a point inside that is to be frozen.
        """
        check_names(self.edits, names_of_points(spec))
        if self.request is not None and not spec.conditional:
            raise ValueError(f"layout {spec.model.layout} takes no return, so no request steers it")
        if self.prefix is not None and self.prefix.shape[-1] != spec.model.width:
            raise ValueError(
                f"its prefix has vectors of {self.prefix.shape[-1]}, the model's have "
                f"{spec.model.width}"
            )
        for name, edit in self.edits.items():
            if edit.how == "freeze" and not name.startswith("inputs."):
                raise ValueError(
                    f"{name} cannot be frozen while a policy acts, as no row keeps what stood "
                    f"there; freeze an input, or set a value"
                )

    @property
    def frozen(self) -> tuple[str, ...]:
        """The inputs that are kept as they were at some timestep."""
        return tuple(name for name, edit in self.edits.items() if edit.how == "freeze")

    def nothing_held(self, codec: Codec, batch_size: int) -> Held | None:
        """Make what rows hold that have not started; None where nothing is frozen."""
        if not self.frozen:
            return None
        action, seen = codec.no_action(batch_size), codec.observation_parts
        shapes = {
            RETURN: jnp.zeros(batch_size),
            OBSERVATION: jnp.zeros((batch_size, seen.num_numbers)),
            f"{OBSERVATION}.{CATEGORIES}": jnp.zeros((batch_size, len(seen.counts)), jnp.int32),
            ACTION: jnp.asarray(action.numbers),
            f"{ACTION}.{CATEGORIES}": jnp.asarray(action.categories),
        }
        return {name: shapes[name] for name in self.frozen}

    def held(self, before: Held | None, moment: Moment) -> Held | None:
        """Hold the inputs of rows that come to the timestep at which they are frozen."""
        if before is None:
            return None
        return {name: self._held(name, old, moment) for name, old in before.items()}

    def _held(self, name: str, old: Array, moment: Moment) -> Array:
        values = {
            RETURN: moment.return_to_go,
            OBSERVATION: moment.observation.numbers,
            f"{OBSERVATION}.{CATEGORIES}": moment.observation.categories,
            ACTION: moment.previous_action.numbers,
            f"{ACTION}.{CATEGORIES}": moment.previous_action.categories,
        }
        then: Int[Array, " B"] = moment.timestep - name.startswith(ACTION)
        begins = (then == self.edits[name].first).reshape(-1, *[1] * (old.ndim - 1))
        return jnp.where(begins, values[name], old)

    def changes(self, held: Held | None) -> dict[str, Change]:
        """Make the functions that a step's points pass through."""
        return {
            name: dataclasses.replace(edit, how="set", values=(held or {})[name][:, None])
            if edit.how == "freeze"
            else edit
            for name, edit in self.edits.items()
        }


UNSTEERED = Steering()


def steering_of(steering: Steering | None, steer: str, spec: PolicySpec) -> Steering:
    """Take what steers a policy, if anything does.

    Args:
        steer: the file that the policy's options name.

    Raises:
        ValueError: for a file that was not read, and as `check`.
    """
    if steer and steering is None:
        raise ValueError(
            f"steer is {steer!r}, and what it holds is not given; load the policy from its run "
            f"with load_policy"
        )
    found = UNSTEERED if steering is None else steering
    found.check(spec)
    return found
