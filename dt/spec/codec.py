"""Encode observations and actions for the model, and decode the model's actions."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float, UInt8

from dt.data.batches.windows import Action, Observation, Steps
from dt.data.store.rows import Columns
from dt.spaces.arrays import AnyArray, Tree
from dt.spaces.parts import Leaf, Parts
from dt.spaces.records import build
from dt.spec.normalizer import Normalizer


@dataclass(frozen=True, eq=False)
class Codec:
    """The units of the model, and the places of each part of a space in its arrays."""

    columns: Columns
    action_space: gymnasium.Space
    observation_parts: Parts
    action_parts: Parts
    observation_normalizer: Normalizer
    action_normalizer: Normalizer
    return_normalizer: Normalizer

    def encode(
        self, rows: Float[np.ndarray, "*N W"], pixels: UInt8[np.ndarray, "*N P"] | None = None
    ) -> Steps:
        """Bring rows of the data and their pictures (see `dt.data.store.rows`) into the model's
        units. Rows are counted from the data's origins, and so is what the units were fitted on."""
        columns = self.columns
        if pixels is None:
            pixels = np.zeros((*rows.shape[:-1], columns.num_pixels), np.uint8)
        return Steps(
            observations=Observation(
                self.observation_normalizer(rows[..., columns.observation]),
                rows[..., columns.observation_categories].astype(np.int32),
                pixels,
            ),
            actions=Action(
                self.action_normalizer(rows[..., columns.action]),
                rows[..., columns.action_categories].astype(np.int32),
            ),
            returns_to_go=self.return_normalizer(rows[..., columns.return_to_go]),
        )

    def encode_observation(self, observations: Tree) -> Observation:
        """Bring B observations of the environment into the model's units.

        This and `decode_action` take NumPy's arrays, and JAX's inside a program.
        """
        parts = self.observation_parts
        return Observation(
            _normalized(parts, observations, self.observation_normalizer),
            parts.category_columns(observations),
            parts.pixel_columns(observations),
        )

    def encode_action(self, actions: Tree) -> Action:
        """Bring B of the environment's actions into the model's units."""
        parts = self.action_parts
        return Action(
            _normalized(parts, actions, self.action_normalizer), parts.category_columns(actions)
        )

    def decode_action(self, actions: Action) -> Tree:
        """Bring the model's actions, (B, ...), to B of the environment's, inside its space.

        An array, or a tree of arrays as Gymnasium's vector environments take it. On the host a part
        keeps what is no number or no category (see `ActionHead.act`), in a type that can say so.
        """
        parts = self.action_parts
        numbers = self.action_normalizer.invert(actions.numbers)
        if self.action_normalizer.origin is not None:
            numbers = numbers + self.action_normalizer.origin
        columns = {"numbers": numbers, "categories": actions.categories + parts.starts}
        values: dict[tuple[str, ...], AnyArray] = {}
        for kind, columns_of in columns.items():
            begin = 0
            for leaf in getattr(parts, kind):
                own = columns_of[:, begin : begin + leaf.size].reshape(-1, *leaf.shape)
                values[leaf.path] = _in_space(own, leaf)
                begin += leaf.size
        return build(self.action_space, lambda leaf: values[leaf.path])

    def no_action(self, batch_size: int) -> Action:
        """Make zeros, (batch_size, ...), in the model's units."""
        parts = self.action_parts
        return Action(
            np.zeros((batch_size, parts.num_numbers), np.float32),
            np.zeros((batch_size, len(parts.counts)), np.int32),
        )


def _normalized(parts: Parts, values: Tree, normalizer: Normalizer) -> AnyArray:
    # Infinity reaches the action, which is refused by its episode and step, not by a warning.
    with np.errstate(over="ignore"):
        return normalizer(parts.number_columns(values, normalizer.origin))


def _in_space(values: AnyArray, leaf: Leaf) -> AnyArray:
    """Numbers rounded and clipped to their box, and all in the space's own type."""
    space, xp = leaf.space, values.__array_namespace__()
    if isinstance(values, np.ndarray) and not _can_say(values, leaf):
        return values
    if isinstance(space, spaces.Box):
        if np.issubdtype(space.dtype, np.integer):
            values = xp.round(values)
        values = xp.clip(values, space.low, space.high)
    # JAX has no such wide types, and takes only Python's names for them as the nearest it has.
    wide: dict[str, type] = {"float64": float, "int64": int}
    return values.astype(wide.get(str(space.dtype), space.dtype))


def _can_say(values: np.ndarray, leaf: Leaf) -> bool:
    """Tell whether the space's type keeps these values; one without NaN would make a number of
    it."""
    if leaf.kind == "categories":
        return bool((values >= leaf.starts.reshape(leaf.shape)).all())
    return np.issubdtype(leaf.space.dtype, np.floating) or bool(np.isfinite(values).all())
