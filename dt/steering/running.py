"""Run a model on contexts: read what stands at named points, and put something else there.

>>> from dt import steering
>>> print(steering.points(policy))
>>> ran = steering.run(policy, contexts, read=["blocks.0.attention.weights"])
>>> ran.read["blocks.0.attention.weights"].shape
>>> steering.run(policy, contexts, do={"tokens.return": steering.null(policy, "tokens.return")})

Nothing changes in place: a run is a function of weights, contexts and edits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool

from dt.acting.policy import ReturnConditionedPolicy
from dt.data.batches.windows import Batch
from dt.model.decision_transformer import DecisionTransformer, names_of_points
from dt.model.edits import ALWAYS, Edit
from dt.model.embed.returns import ReturnEmbedding
from dt.model.heads.action import Prediction
from dt.model.inputs import CATEGORIES, RETURN
from dt.model.params import Params
from dt.model.points import TOKENS, Change, Points, as_tree, check_names
from dt.model.recipe import recipe_of
from dt.spec.spec import PolicySpec
from dt.steering.contexts import Contexts

Graph: TypeAlias = "nnx.GraphDef[DecisionTransformer]"
Put: TypeAlias = "Edit | Change | np.ndarray | Array | float"
"""What shall stand at a point: an edit, a function of what stands there, or the value itself."""


@dataclass(frozen=True)
class Ran:
    """What the model said of every step, and what stood at the points that were read."""

    prediction: Prediction  # (B, T, ...), as the heads have it
    read: dict[str, Array]  # (B, T, ...) of inputs and tokens, (B, L, ...) inside the model


def points(policy: ReturnConditionedPolicy) -> str:
    """Draw the names of all points of a policy's model as a tree."""
    return as_tree(names_of_points(policy.spec))


def run(
    policy: ReturnConditionedPolicy,
    contexts: Contexts | Batch,
    read: Iterable[str] = (),
    do: Mapping[str, Put] | None = None,
    null_returns: Bool[np.ndarray, " B"] | bool = False,
) -> Ran:
    """Run the policy's model on a batch of contexts.

    Inside the model a point has a value for each of the L = P + T n tokens: those of a prefix, then
    the n tokens of each of the T timesteps. `blocks.0.attention.heads` is (B, L, H, d),
    `blocks.0.attention.weights` (B, H, L, L), all others (B, L, D).

    With nothing to read and to do, the program is that of the plain model, bit for bit.

    Args:
        contexts: in the model's units, as `contexts_of` draws them.
        read: names of points; what is read is what stands there after an edit.
        do: what shall stand at which points; a value by itself is set for all tokens.
        null_returns: rows, or all, that are told no return.

    Raises:
        ValueError: for a name that no point has, with the nearest that one has; for rows without a
            return of a model that always has one; for an edit that does not fit.
    """
    batch = contexts.batch if isinstance(contexts, Contexts) else contexts
    known, read, do = names_of_points(policy.spec), tuple(read), dict(do or {})
    check_names([*read, *do], known)
    rows = jnp.broadcast_to(jnp.asarray(null_returns), (len(batch.timesteps),))
    if np.any(null_returns):
        _check_null(policy.spec)
    edits = {name: _edit(put) for name, put in do.items() if isinstance(put, Edit) or _plain(put)}
    changes = tuple((name, put) for name, put in do.items() if name not in edits)
    graph = policy.program.graph
    prediction, seen = _run(graph, read, changes, policy.params, batch, rows, edits)
    return Ran(prediction, {name: seen[name] for name in read})


@partial(jax.jit, static_argnums=(0, 1, 2))
def _run(
    graph: Graph,
    read: tuple[str, ...],
    changes: tuple[tuple[str, Change], ...],
    params: Params,
    batch: Batch,
    null_returns: Array,
    edits: Mapping[str, Edit],
) -> tuple[Prediction, dict[str, Array]]:
    noted = Points(read, {**edits, **dict(changes)}) if read or edits or changes else None
    model = nnx.merge(graph, params)
    prediction = model.predictions(batch, null_returns, points=noted)[0]
    return prediction, {} if noted is None else noted.seen


def null(policy: ReturnConditionedPolicy, name: str, first: int = 0, last: int = ALWAYS) -> Edit:
    """Make the edit that puts nothing at a point.

    Of the return that is the learned null token; elsewhere zero, which of what is observed and done
    is the data's mean or the middle of its bounds.

    Raises:
        ValueError: for a name that no point has, a return that the model cannot do without, and
            categories, among which there is none for nothing.
    """
    check_names([name], names_of_points(policy.spec))
    if name == RETURN:
        raise ValueError(
            f"{RETURN} is a number, and no number is none; the null token stands at {TOKENS}.return"
        )
    if name.endswith(CATEGORIES):
        raise ValueError(f"{name} is a choice among categories, and there is none for nothing")
    values: Array = jnp.zeros(1)
    if name == f"{TOKENS}.return":
        _check_null(policy.spec)
        returns = nnx.merge(policy.program.graph, policy.params).embed.returns
        assert isinstance(returns, ReturnEmbedding), "recipes with a null token have it there"
        values = returns.null[...]
    return Edit("set", np.asarray(values), first=first, last=last)


def _check_null(spec: PolicySpec) -> None:
    if not (spec.conditional and recipe_of(spec.model).hidden_returns):
        raise ValueError(
            f"a model of recipe {spec.model.recipe} and layout {spec.model.layout} has no null "
            f"token to put where the return stands"
        )


def _plain(put: Put) -> bool:
    return isinstance(put, np.ndarray | jax.Array | float | int)


def _edit(put: Put) -> Edit:
    return put if isinstance(put, Edit) else Edit("set", np.asarray(put))
