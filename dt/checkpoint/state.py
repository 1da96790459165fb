"""What a checkpoint holds of training: the weights, the optimiser's state and the updates done."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from flax import nnx
from jaxtyping import Array, Int


class TrainState(NamedTuple):
    """All that training changes; with the configuration and the data, all that a resume needs."""

    params: Any  # the model's nnx.State of parameters
    optimizer: Any  # optax's state
    step: Int[Array, ""]  # updates done


def to_trees(state: TrainState) -> dict[str, Any]:
    """The state as dictionaries, the optimiser's as numbered leaves: no class is in a file."""
    leaves = jax.tree.leaves(state.optimizer)
    numbered = {f"{i:04d}": leaf for i, leaf in enumerate(leaves)}
    params = nnx.to_pure_dict(state.params)
    return {"params": params, "optimizer": {"leaves": numbered, "step": state.step}}


def from_trees(trees: dict[str, Any], like: TrainState) -> TrainState:
    """The inverse of `to_trees`, in the structure of a state of the same run."""
    params = like.params
    nnx.replace_by_pure_dict(params, trees["params"])
    leaves = jax.tree.leaves(trees["optimizer"]["leaves"])
    optimizer = jax.tree.unflatten(jax.tree.structure(like.optimizer), leaves)
    return TrainState(params, optimizer, trees["optimizer"]["step"])
