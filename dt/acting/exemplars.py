"""Prefixes that stand before the episodes of a policy: the caller's, or those of the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from dt.data.batches.windows import Batch, map_arrays
from dt.data.episodes import Episode, EpisodeDataset
from dt.data.store.rows import TrainingData
from dt.spaces.arrays import Tree
from dt.spaces.records import to_records
from dt.spec.exemplars import Exemplars
from dt.spec.spec import PolicySpec


def given_prefixes(
    spec: PolicySpec, goals: Tree | None, prompts: Sequence[Episode] | None, num_rows: int
) -> Batch | None:
    """Encode the prefixes that a caller gives, (B, P, ...) in the model's units; None without any.

    Raises:
        ValueError: for prefixes that the model has no place for, and another number of them than
            of rows.
    """
    kind = spec.model.prefix
    for name, given in (("goal", goals), ("prompt", prompts)):
        if given is not None and kind != name:
            raise ValueError(
                f"{name}s are given, but this model has prefix {kind!r}; train one with "
                f"--model.prefix {name}"
            )
    if goals is not None:
        prefixes = _goals(spec, goals)
    elif prompts is not None:
        prefixes = _prompts(spec, prompts)
    else:
        return None
    if len(prefixes.timesteps) != num_rows:
        raise ValueError(f"{len(prefixes.timesteps)} {kind}s are given for {num_rows} rows")
    return prefixes


def nearest_exemplars(
    spec: PolicySpec, requests: Float[Array, " B"] | Float[np.ndarray, " B"]
) -> Batch:
    """Choose the prefixes of those of the data's episodes whose returns are nearest to these."""
    returns, batch = spec.exemplar_batch
    nearest = jnp.abs(jnp.asarray(requests)[:, None] - returns).argmin(axis=1)
    return jax.tree.map(lambda x: jnp.asarray(x)[nearest], batch)


def replace_rows(old: Batch, new: Batch, rows: Bool[np.ndarray, " B"]) -> Batch:
    """Take these rows from the new prefixes and the others from the old, as NumPy's arrays."""

    def pick(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        return np.where(rows.reshape(-1, *[1] * (before.ndim - 1)), after, before)

    return jax.tree.map(pick, old, new)


def _goals(spec: PolicySpec, observations: Tree) -> Batch:
    """B observations to end in, as batches have them, (B, 1, ...)."""
    encoded = spec.codec.encode_observation(to_records(spec.observation_space, observations))
    rows = len(encoded.numbers)
    ends = Batch(
        observations=encoded,
        actions=spec.codec.no_action(rows),
        returns_to_go=np.zeros(rows, np.float32),
        timesteps=np.zeros(rows, np.int32),
        mask=np.ones(rows, bool),
    )
    return map_arrays(lambda x: x[:, None], ends)


def _prompts(spec: PolicySpec, episodes: Sequence[Episode]) -> Batch:
    """The middles of B episodes, (B, P, ...)."""
    dataset = EpisodeDataset.from_episodes(
        "prompts",
        episodes,
        observation_space=spec.observation_space,
        action_space=spec.action_space,
    )
    transforms = dataclasses.replace(spec.transforms, top_fraction=1.0)  # all of them
    data = TrainingData.of(dataset, transforms)
    cut = Exemplars.of(data, "prompt", spec.prefix_steps, np.arange(len(episodes)))
    return cut.encoded(spec.codec, spec.prefix_steps)
