"""What the model says at the end of contexts of which some part is edited: pure, compiled, batched.

Axes: R rows, of which each is a context with an edit of its own; T timesteps, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.data.batches.windows import Action, Batch
from dt.model.decision_transformer import DecisionTransformer, abstract_model
from dt.model.heads.action import Prediction
from dt.model.params import Params
from dt.model.prefix import with_prefix
from dt.spec.spec import PolicySpec


class Written(NamedTuple):
    """What stands in place of parts of contexts, in the model's units; None leaves a part as it is.

    Every field is an array of R rows.
    """

    returns: Float[Array, "R T"] | None = None
    observations: Float[Array, "R T O"] | None = None  # the numbers of observations
    actions: Action | None = None  # (R, T, ...)
    # Added to the actions' vectors: weights of the vectors of each value of their one category.
    # Where they are zeros, the gradient by them tells what another value would change.
    weights: Float[Array, "R T A"] | None = None
    prefix: Float[Array, "R n D"] | None = None  # vectors before all tokens


AS_IT_IS = Written()


class Said(NamedTuple):
    """What the heads say at the last step of each row."""

    action: Prediction  # (R, ...)
    expected: Float[Array, "R P"] | None  # of the return's head, where there is one


@dataclasses.dataclass(frozen=True, eq=False)
class Probe:
    """A model to be asked at the end of contexts; `say` is a pure function, to be compiled."""

    spec: PolicySpec
    graph: nnx.GraphDef[DecisionTransformer]
    params: Params
    null: bool = False  # whether the null token stands where returns would

    @classmethod
    def of(cls, params: Params, spec: PolicySpec, null: bool = False, num_soft: int = 0) -> Probe:
        """Make the probe of a model, with room for soft vectors before all tokens."""
        if num_soft:
            width = spec.model.width
            params, spec = with_prefix(params, spec, np.zeros((num_soft, width), np.float32))
        return cls(spec, nnx.split(abstract_model(spec))[0], params, null)

    def model(self, params: Params) -> DecisionTransformer:
        """Put weights into the model's structure."""
        return nnx.merge(self.graph, params)

    def say(
        self, model: DecisionTransformer, batch: Batch, last: Int[Array, " R"], edit: Written
    ) -> Said:
        """Compute what the heads say at each row's last step."""
        batch = edited(batch, edit)
        if edit.prefix is not None:
            model.embed.soft = nnx.Param(edit.prefix)  # of each row its own
        vectors = None
        if edit.weights is not None:
            table = model.embed.action.categories.embedding[...]
            vectors = model.embed.action(batch.actions) + edit.weights @ table
        null = jnp.full(len(last), self.null)
        actions, expected = model.predictions(batch, null, action_vectors=vectors)
        rows = jnp.arange(len(last))
        return Said(
            jax.tree.map(lambda x: x[rows, last], actions),
            None if expected is None else expected[rows, last],
        )


def edited(batch: Batch, edit: Written) -> Batch:
    """Put what is edited into the batch; vectors of actions and prefixes have no place in it."""
    if edit.returns is not None:
        batch = batch._replace(returns_to_go=edit.returns)
    if edit.observations is not None:
        seen = batch.observations._replace(numbers=edit.observations)
        batch = batch._replace(observations=seen)
    return batch if edit.actions is None else batch._replace(actions=edit.actions)


def token_norms(
    probe: Probe, batch: Batch, real: Bool[np.ndarray, "B T"]
) -> Float[np.ndarray, " N"]:
    """Measure the norms of all real tokens of contexts, as the transformer is given them."""

    def norms(params: Params, batch: Batch) -> Array:
        tokens, _ = probe.model(params).embed(batch, jnp.full(len(batch.timesteps), probe.null))
        return jnp.linalg.norm(tokens, axis=-1)

    found = np.asarray(jax.jit(norms)(probe.params, batch))
    return np.asarray(found[np.asarray(real)]).ravel()


Score = Callable[[DecisionTransformer, Said, Any], Array]
"""The model, what it says of R rows, and what is wanted of each -> scores (R,), more is better."""
