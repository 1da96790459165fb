"""Heads: what the model's vectors say of an action's numbers and categories, and of returns.

A head of numbers is one file with its record `HeadKind`, and a word in `HEADS`; `model.head` names
it. Another package adds its own before a model is made: `dt.HEADS[MY_HEAD.name] = MY_HEAD`.
"""

from __future__ import annotations

from flax import nnx

from dt.model.heads.bins import QUANTILE_BINS, UNIFORM_BINS
from dt.model.heads.bins import BinsHead as BinsHead
from dt.model.heads.categorical import CategoriesHead as CategoriesHead
from dt.model.heads.deterministic import DETERMINISTIC
from dt.model.heads.deterministic import DeterministicHead as DeterministicHead
from dt.model.heads.gaussian import GAUSSIAN
from dt.model.heads.gaussian import GaussianHead as GaussianHead
from dt.model.heads.kind import GuidableHead as GuidableHead
from dt.model.heads.kind import Head as Head
from dt.model.heads.kind import HeadInputs as HeadInputs
from dt.model.heads.kind import HeadKind as HeadKind
from dt.model.heads.returns import CategoricalReturnHead as CategoricalReturnHead
from dt.model.heads.returns import ExpectileReturnHead as ExpectileReturnHead
from dt.model.heads.returns import ReturnChoice as ReturnChoice
from dt.model.heads.sampling import Sampling as Sampling
from dt.words import there_are

HEADS: dict[str, HeadKind] = {
    kind.name: kind for kind in (DETERMINISTIC, GAUSSIAN, UNIFORM_BINS, QUANTILE_BINS)
}


def head_kind(name: str) -> HeadKind:
    """Look up the head that `model.head` names.

    Raises:
        ValueError: for a name that is not registered, naming the nearest.
    """
    if name not in HEADS:
        raise ValueError(f"model.head is {name!r}; {there_are(name, HEADS)}")
    return HEADS[name]


def make_number_head(name: str, inputs: HeadInputs, *, rngs: nnx.Rngs) -> Head:
    """Make the head that `model.head` names, for the numbers of an action.

    Raises:
        ValueError: for a name that is not registered, and for a head that needs edges of bins
            where there are none.
    """
    kind, count = head_kind(name), inputs.num_numbers
    if kind.needs_edges and (inputs.edges is None or len(inputs.edges) != count):
        raise ValueError(f"model.head is {name}, but there are no edges of {count} numbers")
    return kind.make(inputs, rngs)
