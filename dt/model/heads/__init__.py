"""How does a vector become a prediction, and what does a wrong one cost? One head a file.

Every head maps (..., D) to (..., P) numbers of its own, which its `loss(prediction, target, key)`,
`act(prediction, key, sampling)` and, where it has a likelihood, `log_prob(prediction, target)`
read. Axes before are any.
"""

from __future__ import annotations

import numpy as np
from flax import nnx
from jaxtyping import Bool, Float

from dt.config import HeadName
from dt.model.heads.bins import BinsHead as BinsHead
from dt.model.heads.categorical import CategoriesHead as CategoriesHead
from dt.model.heads.deterministic import DeterministicHead as DeterministicHead
from dt.model.heads.gaussian import GaussianHead as GaussianHead
from dt.model.heads.returns import CategoricalReturnHead as CategoricalReturnHead
from dt.model.heads.returns import ExpectileReturnHead as ExpectileReturnHead
from dt.model.heads.returns import ReturnChoice as ReturnChoice
from dt.model.heads.sampling import Sampling as Sampling
from dt.model.recipe import Recipe

NumberHead = DeterministicHead | GaussianHead | BinsHead


def make_number_head(
    kind: HeadName,
    width: int,
    action_dim: int,
    bounded: bool | Bool[np.ndarray, " A"],
    recipe: Recipe,
    *,
    edges: Float[np.ndarray, "A K1"] | None = None,
    rngs: nnx.Rngs,
) -> NumberHead:
    """The head that `model.head` names, for the numbers of an action.

    Args:
        bounded: of all numbers, or of each: whether its space is [-1, 1] in the model's units.
        edges: of the bins, for the two kinds that have some (`dt.spec.bins.bin_edges`).
    """
    if kind == "deterministic":
        return DeterministicHead(width, action_dim, bounded, recipe, rngs=rngs)
    if kind == "gaussian":
        return GaussianHead(width, action_dim, bounded, recipe, rngs=rngs)
    if edges is None or len(edges) != action_dim:
        raise ValueError(f"model.head is {kind}, but there are no edges of {action_dim} numbers")
    return BinsHead(width, edges, recipe, rngs=rngs)
