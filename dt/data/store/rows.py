"""Lay out what training reads: one row of float32 a step, in memory or mapped from a file.

A row holds a step's observation, action and return-to-go side by side, so that a window is one
run of memory: reading it costs one cache miss where separate arrays cost three. Numbers come
first, then categories, counted from 0; a float32 holds those exactly up to 2^24. Numbers that
float32 cannot tell apart are counted from an origin (see `origins.py`). The pictures of an
observation are rows of bytes of their own, all pictures of a step side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypedDict

import gymnasium
import numpy as np
from jaxtyping import Float, Int

from dt.data.episodes import Episode, EpisodeDataset
from dt.data.reference import Reference
from dt.data.store.moments import Moments
from dt.data.store.origins import choose_origins
from dt.data.streams import EpisodeSource
from dt.data.transforms import Transforms, best_episodes, returns
from dt.spaces.environments import EnvKwargs
from dt.spaces.parts import Parts

CHUNK_STEPS = 65_536  # steps that are held at once; part of the format, as sums depend on it
OUTLYING = 1e6  # times the usual return: a float32 has seven digits
MOST_VALUES = 2**24  # of a category


@dataclass(frozen=True)
class TrainingData:
    """All N steps as rows, where episodes lie, and what the numbers mean."""

    name: str
    rows: np.ndarray  # (N, W) float32: observation, action, return-to-go (see `Columns`)
    origins: np.ndarray  # (W,) float64: what was taken off each column; 0 for almost all
    images: np.ndarray | None  # (N, P) uint8; None where observations have no pictures
    offsets: np.ndarray  # (E + 1,) int64
    returns: np.ndarray  # (E,) float64, of transformed rewards
    moments: Moments
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    env_id: str | None
    env_kwargs: EnvKwargs
    reference: Reference | None
    transforms: Transforms
    notes: tuple[str, ...] = ()  # what the reader left out, in sentences
    unplayable: str = ""  # why the environment of the log cannot be played; env_id is then None
    folder: Path | None = None  # of the store whose files are mapped

    @classmethod
    def of(cls, source: EpisodeSource, transforms: Transforms | None = None) -> TrainingData:
        """Make the rows in memory."""
        transforms = transforms or Transforms()
        chunks = list(make_chunks(source, transforms))
        moments = chunks[0].moments
        for chunk in chunks[1:]:
            moments = moments.merge(chunk.moments)
        images = [chunk.images for chunk in chunks if chunk.images is not None]
        return cls(
            rows=np.concatenate([chunk.rows for chunk in chunks]),
            origins=chunks[0].origins,
            images=np.concatenate(images) if images else None,
            offsets=offsets_of(np.concatenate([chunk.lengths for chunk in chunks])),
            returns=np.concatenate([chunk.returns for chunk in chunks]),
            moments=moments,
            transforms=transforms,
            **meaning_of(source),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_steps(self) -> int:
        return len(self.rows)

    @cached_property
    def lengths(self) -> Int[np.ndarray, " E"]:
        return np.diff(self.offsets)

    @cached_property
    def columns(self) -> Columns:
        return Columns.of(self.observation_space, self.action_space)

    def origin(self, columns: slice) -> np.ndarray | None:
        """Find what was taken off these columns, (n,) float64; None where it is 0 of all."""
        own = self.origins[columns]
        return own if own.any() else None

    @property
    def actions_out_of_reach(self) -> str | None:
        """Say which logged actions leave the bounds of their space, as no policy's will."""
        low, high = Parts.of(self.action_space, images=False).bounds
        least, most = (
            (ends + self.origins)[self.columns.action]
            for ends in (self.moments.low, self.moments.high)
        )
        tolerance = np.where(np.isfinite(high - low), 1e-4 * (high - low), 0.0)  # of rounding
        beyond = np.flatnonzero((least < low - tolerance) | (most > high + tolerance))
        if not len(beyond):
            return None
        worst, unit = int(beyond[0]), max(-least.min(), most.max()) <= 1.0 + 1e-6
        return (
            f"{len(beyond)} of {len(low)} action numbers leave the bounds of the action space "
            f"(number {worst}: {least[worst]:.4g} to {most[worst]:.4g} in the data, "
            f"{low[worst]:.4g} to {high[worst]:.4g} in the space); the policy's stay within"
            f"{'; --data.unit-actions scales logs of [-1, 1] to the space' if unit else ''}"
        )

    @property
    def outlying_reward(self) -> str | None:
        """Say where a reward is so large that all others are lost beside it."""
        sizes = np.abs(self.returns)
        usual = float(np.median(sizes))
        episode = int(sizes.argmax())
        if not sizes[episode] > OUTLYING * max(usual, float(np.finfo(np.float32).tiny)):
            return None
        if not usual:
            return None  # a goal that few episodes reach
        begin, end = self.offsets[episode : episode + 2]
        to_go = self.rows[begin:end, self.columns.return_to_go].astype(np.float64)
        rewards = to_go - np.append(to_go[1:], 0.0)
        step = int(np.abs(rewards).argmax())
        return (
            f"the reward at episode {episode}, step {step} is {rewards[step]:.4g}, where half of "
            f"the episodes return less than {usual:.4g}: no return between them can be told apart; "
            f"repair or remove the episode"
        )

    @property
    def num_bytes(self) -> int:
        return self.rows.nbytes + (0 if self.images is None else self.images.nbytes)


class Columns(NamedTuple):
    """Which columns of a row hold what, and how many bytes of pictures go with it."""

    observation: slice  # its numbers
    observation_categories: slice
    action: slice
    action_categories: slice
    return_to_go: int
    num_pixels: int

    @classmethod
    def of(cls, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> Columns:
        """Lay out the columns of a row.

        Raises:
            ValueError: for a space that holds what is none of numbers, categories and pictures, and
                for a category of more values than a float32 tells apart.
        """
        observation, action = Parts.of(observation_space), Parts.of(action_space, images=False)
        for parts in (observation, action):
            for leaf in parts.categories:
                if leaf.counts.max(initial=0) > MOST_VALUES:
                    raise ValueError(
                        f"space {leaf.space}: has a category of more than {MOST_VALUES:,} values"
                    )
        sizes = [
            size
            for parts in (observation, action)
            for size in (parts.num_numbers, len(parts.counts))
        ]
        ends = np.cumsum([0, *sizes]).tolist()
        a, b, c, d = (slice(*ends[i : i + 2]) for i in range(4))
        return cls(a, b, c, d, ends[-1], observation.num_pixels)


class Chunk(NamedTuple):
    """Some whole episodes, as rows."""

    rows: np.ndarray
    origins: np.ndarray
    images: np.ndarray | None
    lengths: np.ndarray
    returns: np.ndarray

    @property
    def moments(self) -> Moments:
        return Moments.of(self.rows)


def make_chunks(source: EpisodeSource, transforms: Transforms) -> Iterator[Chunk]:
    """Make the rows of a source, some 65,536 steps at a time; a stream is never held whole.

    Raises:
        ValueError: when the source holds no episode, or numbers that do not fit.
    """
    kept = origins = None
    if transforms.top_fraction < 1.0:
        kept = best_episodes(_all_returns(source, transforms), transforms.top_fraction)
    for piece in _pieces(source):
        if kept is not None:
            own = kept[(kept >= piece.first_episode) & (kept < piece.first_episode + len(piece))]
            if not len(own):
                continue
            piece = piece.select(own - piece.first_episode)
        origins = _origins(piece, transforms) if origins is None else origins
        yield _chunk(piece, transforms, origins)


def offsets_of(lengths: Int[np.ndarray, " E"]) -> Int[np.ndarray, " E1"]:
    """Add up lengths: where each episode begins, and at last where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


class Meaning(TypedDict):
    """What a source's numbers mean: fields that `TrainingData` shares with it."""

    name: str
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    env_id: str | None
    env_kwargs: EnvKwargs
    reference: Reference | None
    notes: tuple[str, ...]
    unplayable: str


def meaning_of(source: EpisodeSource) -> Meaning:
    """Take from a source what its numbers mean."""
    return Meaning(
        name=source.name,
        observation_space=source.observation_space,
        action_space=source.action_space,
        env_id=source.env_id,
        env_kwargs=source.env_kwargs,
        reference=source.reference,
        notes=source.notes,
        unplayable=source.unplayable,
    )


def _all_returns(source: EpisodeSource, transforms: Transforms) -> Float[np.ndarray, " E"]:
    pieces = (returns(p.rewards, p.offsets, transforms) for p in _pieces(source))
    return np.concatenate(list(pieces))


def _pieces(source: EpisodeSource) -> Iterator[EpisodeDataset]:
    """Cut a source into pieces of CHUNK_STEPS steps or just more; the last may be less.

    A data set in memory and a stream of the same episodes are cut at the same places.
    """
    begin = 0
    if isinstance(source, EpisodeDataset):
        while begin < len(source):
            full = np.searchsorted(source.offsets, source.offsets[begin] + CHUNK_STEPS)
            end = min(int(full), len(source))
            yield source.select(np.arange(begin, end))
            begin = end
        return
    held: list[Episode] = []
    num_steps = 0
    for episode in source:
        held.append(episode)
        num_steps += len(episode)
        if num_steps >= CHUNK_STEPS:
            yield _joined(source, held, begin)
            begin, held, num_steps = begin + len(held), [], 0
    if held or begin == 0:  # an empty source is refused where every empty data set is
        yield _joined(source, held, begin)


def _joined(source: EpisodeSource, episodes: list[Episode], first: int) -> EpisodeDataset:
    return EpisodeDataset.from_episodes(
        episodes=episodes, first_episode=first, **meaning_of(source)
    )


def _origins(piece: EpisodeDataset, transforms: Transforms) -> Float[np.ndarray, " W"]:
    columns = Columns.of(piece.observation_space, piece.action_space)
    origins = np.zeros(columns.return_to_go + 1)
    observation = Parts.of(piece.observation_space)
    origins[columns.observation] = choose_origins(observation, piece.observations)
    action = Parts.of(piece.action_space, images=False)
    actions = transforms.actions(piece.actions, piece.action_space)
    origins[columns.action] = choose_origins(action, actions)
    return origins


def _chunk(
    piece: EpisodeDataset, transforms: Transforms, origins: Float[np.ndarray, " W"]
) -> Chunk:
    columns = Columns.of(piece.observation_space, piece.action_space)
    num_steps = piece.num_steps
    rows = np.empty((num_steps, columns.return_to_go + 1), np.float32)
    parts = Parts.of(piece.observation_space)
    with np.errstate(over="ignore"):  # refused below
        rows[:, columns.observation] = parts.number_columns(
            piece.observations, origins[columns.observation]
        )
    rows[:, columns.observation_categories] = parts.category_columns(piece.observations)
    images = parts.pixel_columns(piece.observations) if columns.num_pixels else None
    parts = Parts.of(piece.action_space, images=False)
    actions = transforms.actions(piece.actions, piece.action_space)
    with np.errstate(over="ignore"):
        rows[:, columns.action] = parts.number_columns(actions, origins[columns.action])
    rows[:, columns.action_categories] = parts.category_columns(actions)
    rewards = transforms.rewards(piece.rewards)
    with np.errstate(over="ignore"):
        rows[:, columns.return_to_go] = transforms.returns_to_go(rewards, piece.offsets)
    _refuse_beyond_float32(piece, rows, columns)
    own_returns = returns(piece.rewards, piece.offsets, transforms)
    return Chunk(rows, origins, images, piece.lengths, own_returns)


def _refuse_beyond_float32(piece: EpisodeDataset, rows: np.ndarray, columns: Columns) -> None:
    """Refuse numbers that a float32 does not hold, and returns that add up to none."""
    if np.isfinite(rows).all():
        return
    row, column = (int(each[0]) for each in np.nonzero(~np.isfinite(rows)))
    episode, step = piece.locate(row)
    names = {columns.return_to_go: "the return to go"}
    names |= dict.fromkeys(range(columns.action.start, columns.action.stop), "actions")
    raise ValueError(
        f"{piece.name}: {names.get(column, 'observations')} at episode {episode}, step {step} "
        f"cannot be held as float32; repair or remove the episode, or scale what it holds "
        f"(--data.reward-scale)"
    )
