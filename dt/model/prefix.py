"""Soft vectors before all tokens of a model whose weights stay as they are."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from dt.model.decision_transformer import abstract_model
from dt.model.params import Params
from dt.spec.spec import PolicySpec


def with_prefix(
    params: Params, spec: PolicySpec, vectors: Float[np.ndarray, "n D"]
) -> tuple[Params, PolicySpec]:
    """Put soft vectors before all tokens of a model; its own weights are the same arrays.

    Returns:
        Parameters and spec of a model that acts, plays and is exported as any other.

    Raises:
        ValueError: for vectors of another width, and for a model that has some already.
    """
    if vectors.ndim != 2 or vectors.shape[1] != spec.model.width:
        raise ValueError(
            f"the prefix has shape {vectors.shape}; the model's vectors have {spec.model.width} "
            f"numbers, so give (n, {spec.model.width})"
        )
    if spec.num_soft:
        raise ValueError(f"the model has a prefix of {spec.num_soft} soft vectors already")
    spec = dataclasses.replace(spec, num_soft=len(vectors))
    state = nnx.state(abstract_model(spec))
    values: dict[str, Any] = nnx.to_pure_dict(params)
    values = {**values, "embed": {**values["embed"], "soft": jnp.asarray(vectors, jnp.float32)}}
    nnx.replace_by_pure_dict(state, values)
    return state, spec
