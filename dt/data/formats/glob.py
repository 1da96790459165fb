"""Join the files of a glob: their episodes follow one another, as one stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces

from dt.data.episodes import Episode, EpisodeDataset
from dt.data.reference import Reference
from dt.data.streams import EpisodeSource, EpisodeStream
from dt.spaces.environments import EnvKwargs


class Part(NamedTuple):
    """One file, folder or data set of several, and how it is opened."""

    name: str
    open: Callable[[], EpisodeSource]


class Origin(NamedTuple):
    """Where a source says that its episodes are from: all parts must agree."""

    env_id: str | None
    env_kwargs: EnvKwargs
    reference: Reference | None
    spaces_inferred: bool

    @classmethod
    def of(cls, source: EpisodeSource) -> Origin:
        return cls(source.env_id, source.env_kwargs, source.reference, source.spaces_inferred)


def one_after_another(name: str, parts: Sequence[Part]) -> EpisodeStream:
    """Stream the episodes of all parts; one part is open at a time, in this look and in each pass.

    Raises:
        ValueError: naming the part that differs from the first in its environment, its reference
            or its spaces.
    """
    widths: dict[str, gymnasium.Space] = {}
    first: Origin | None = None
    num_episodes: int | None = 0
    notes: list[str] = []
    unplayable = ""
    for part in parts:
        opened = part.open()
        origin = Origin.of(opened)
        first = first or origin
        for field, value, expected in zip(Origin._fields, origin, first, strict=True):
            if value != expected:
                raise ValueError(_disagreement(part, field, value, expected, parts[0]))
        for field in ("observation_space", "action_space"):
            space = getattr(opened, field)
            held = widths.setdefault(field, space)
            wide = _widened(held, space, opened.spaces_inferred)
            if wide is None:
                raise ValueError(_disagreement(part, field, space, held, parts[0]))
            widths[field] = wide
        unplayable = unplayable or opened.unplayable
        notes += [f"{part.name}: {note}" for note in opened.notes]
        count = len(opened) if isinstance(opened, EpisodeDataset) else opened.num_episodes
        num_episodes = None if num_episodes is None or count is None else num_episodes + count
        del opened

    def episodes() -> Iterator[Episode]:
        for part in parts:
            yield from part.open()

    assert first is not None
    return EpisodeStream(
        name=name,
        episodes=episodes,
        observation_space=widths["observation_space"],
        action_space=widths["action_space"],
        num_episodes=num_episodes,
        notes=tuple(notes),
        unplayable=unplayable,
        **first._asdict(),
    )


def _disagreement(part: Part, field: str, value: object, expected: object, first: Part) -> str:
    return (
        f"{part.name}: {field} is {value}, but {expected} in {first.name}; "
        f"the files of a glob must agree"
    )


def _widened(
    first: gymnasium.Space, second: gymnasium.Space, inferred: bool
) -> gymnasium.Space | None:
    """The space of both; spaces that were guessed from arrays widen to hold those of all files."""
    if first == second:
        return first
    if not inferred:
        return None
    if isinstance(first, spaces.Discrete) and isinstance(second, spaces.Discrete):
        return first if first.n > second.n else second
    if isinstance(first, spaces.Box) and isinstance(second, spaces.Box):
        if (first.shape, first.dtype) == (second.shape, second.dtype):
            low, high = np.minimum(first.low, second.low), np.maximum(first.high, second.high)
            return spaces.Box(low, high, first.shape, first.dtype.type)
    return None
