"""Named points inside the model: what stands there can be read, and something else put there.

Who runs the model may give it a `Points`; each point then passes its value through `Points.at`.
Without one nothing is asked, and the program that is compiled is the same as if there were no
points. Nothing is changed in place: an edit is a function of the value that stands there.

Axes: B batch, L tokens, T timesteps, H heads, d head size, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer

from dt.words import nearest

# Of a block, in the order in which they are computed. The last is called by what it makes:
# `residual.3` is what leaves block 2 and enters block 3.
ATTENTION_PARTS = ("attention.weights", "attention.heads", "attention.out")
PARTS = (*ATTENTION_PARTS, "mlp.hidden", "mlp.out", "residual")
TOKENS, FIRST, FINAL = "tokens", "residual.0", "final"


class Where(NamedTuple):
    """Which tokens a value is of."""

    timesteps: Int[Array, "B L"]  # within the episode; -1 for what stands before it
    places: Int[np.ndarray, " L"]  # within their timestep's layout; -1 for what stands before
    rows: Integer[Array, " B"]  # numbers that edits draw by; an episode's stays the same
    axis: int = 1  # of the value, along which its tokens lie


Change: TypeAlias = Callable[[Array, Where], Array]
"""An edit: what stands at a point, and of which tokens -> what shall stand there."""


class BlockPoints(NamedTuple):
    """The points of one block, by their names within it."""

    read: frozenset[str]
    do: Mapping[str, Change]
    where: Where
    seen: dict[str, Array]

    def at(self, part: str, value: Array, axis: int = 1) -> Array:
        """Let a value pass: edited where that is asked for, and noted where it is read."""
        return _pass(part, value, self.where._replace(axis=axis), self.read, self.do, self.seen)

    def touches(self, part: str) -> bool:
        return part in self.read or part in self.do


class Points:
    """What is read and edited in one run of the model; made anew for each run.

    `seen` fills with what was read, by name, while the model is traced or computed.
    """

    def __init__(
        self,
        read: Iterable[str] = (),
        do: Mapping[str, Change] | None = None,
        rows: Integer[Array, " B"] | None = None,
    ):
        """
        Args:
            rows: a number a row of the batch, for edits that draw; by default 0, 1, 2, ...
        """
        self.read, self.do = frozenset(read), dict(do or {})
        self.rows = rows
        self.seen: dict[str, Array] = {}

    def __bool__(self) -> bool:
        return bool(self.read or self.do)

    def where(self, timesteps: Int[Array, "B L"], places: Int[np.ndarray, " L"]) -> Where:
        rows = jnp.arange(len(timesteps)) if self.rows is None else self.rows
        return Where(timesteps, places, rows)

    def at(self, name: str, value: Array, where: Where) -> Array:
        """Let a value pass: edited where that is asked for, and noted where it is read."""
        return _pass(name, value, where, self.read, self.do, self.seen)

    def of_block(self, layer: int, where: Where) -> BlockPoints:
        """The points of one of the blocks; what is read of them is noted by `note`."""
        names = {part: name_of(layer, part) for part in PARTS}
        read = frozenset(part for part, name in names.items() if name in self.read)
        do = {part: self.do[name] for part, name in names.items() if name in self.do}
        return BlockPoints(read, do, where, {})

    def of_scanned(self, layers: range, layer: Int[Array, ""], where: Where) -> BlockPoints:
        """The points of the block whose number is known only while a loop over blocks runs.

        What is read of any of the blocks is read of all, for a loop gives the same of each.
        """
        read, do = set(), {}
        for part in PARTS:
            names = [name_of(each, part) for each in layers]
            if self.read.intersection(names):
                read.add(part)
            if any(name in self.do for name in names):
                do[part] = _of_layer([self.do.get(name, _nothing) for name in names], layer)
        return BlockPoints(frozenset(read), do, where, {})

    def note(self, layer: int, seen: Mapping[str, Array]) -> None:
        """Keep what was read in a block."""
        for part, value in seen.items():
            if (name := name_of(layer, part)) in self.read:
                self.seen[name] = value


def name_of(layer: int, part: str) -> str:
    """Name a point of a block: `blocks.0.mlp.out`, and what leaves it `residual.1`."""
    return f"residual.{layer + 1}" if part == "residual" else f"blocks.{layer}.{part}"


def point_names(num_layers: int, tokens: Sequence[str], attends: bool) -> tuple[str, ...]:
    """List all names, in the order in which they are computed.

    Args:
        tokens: what the model is told: return, observation, action.
        attends: False for models whose tokens see only themselves.
    """
    parts = PARTS if attends else PARTS[len(ATTENTION_PARTS) :]
    blocks = (name_of(layer, part) for layer in range(num_layers) for part in parts)
    return (*(f"{TOKENS}.{each}" for each in tokens), FIRST, *blocks, FINAL)


def check_names(asked: Iterable[str], known: Sequence[str]) -> None:
    """Refuse a name that no point has.

    Raises:
        ValueError: with the nearest name, or what there is.
    """
    for name in asked:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"no point {name!r}; {hint}")


def as_tree(names: Sequence[str]) -> str:
    """Draw names as a tree, a line each: what they have in common is said once."""
    lines, shown = [], set[str]()
    for name in names:
        words = name.split(".")
        for depth in range(1, len(words) + 1):
            branch = ".".join(words[:depth])
            if branch not in shown:
                shown.add(branch)
                lines.append("  " * (depth - 1) + words[depth - 1])
    return "\n".join(lines)


def _pass(
    name: str,
    value: Array,
    where: Where,
    read: frozenset[str],
    do: Mapping[str, Change],
    seen: dict[str, Array],
) -> Array:
    if name in do:
        edited = jnp.asarray(do[name](value, where))
        if edited.shape != value.shape:
            raise ValueError(
                f"the edit of {name} made {edited.shape} of {value.shape}; it must keep the shape"
            )
        value = edited.astype(value.dtype)
    if name in read:
        seen[name] = value
    return value


def _nothing(value: Array, where: Where) -> Array:
    del where
    return value


def _of_layer(changes: Sequence[Change], layer: Int[Array, ""]) -> Change:
    """The change of a block whose number is known only in a loop; equal ones stand there once."""
    distinct = list(dict.fromkeys(changes))
    which = jnp.array([distinct.index(change) for change in changes])

    def change(value: Array, where: Where) -> Array:
        branches = [_of(each, where) for each in distinct]
        edited: Array = jax.lax.switch(which[layer], branches, value)
        return edited

    return change


def _of(change: Change, where: Where) -> Callable[[Array], Array]:
    return lambda value: jnp.asarray(change(value, where)).astype(value.dtype)
