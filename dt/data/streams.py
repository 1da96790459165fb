"""Read a log that need not fit in memory, one episode at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import gymnasium
import numpy as np

from dt.data.checks import check_values
from dt.data.episodes import Episode, EpisodeDataset, check_shapes, step_shapes
from dt.data.reference import Reference
from dt.files import reading
from dt.spaces.environments import EnvKwargs

PIECE_BYTES = 64 * 2**20  # episodes are written together until they fill this much


@dataclass(frozen=True, kw_only=True)
class EpisodeStream:
    """A log that is read anew in each pass; the fields are those of `EpisodeDataset`."""

    name: str
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    episodes: Callable[[], Iterator[Episode]]  # a fresh pass; one piece of the log in memory
    env_id: str | None = None
    env_kwargs: EnvKwargs = field(default_factory=dict)
    reference: Reference | None = None
    num_episodes: int | None = None  # where it is known before the first pass
    spaces_inferred: bool = False
    notes: tuple[str, ...] = ()
    unplayable: str = ""  # why the environment of the log cannot be played; env_id is then None

    def __iter__(self) -> Iterator[Episode]:
        """Pass once over checked episodes.

        Raises:
            ValueError: as `EpisodeDataset` does, when the pass comes to what cannot be right.
        """
        usual = None
        try:
            for index, episode in enumerate(self.episodes()):
                usual = usual or step_shapes(episode)
                check_shapes(self.name, index, episode, usual)
                self._check(index, episode)
                yield episode
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException:  # of the log: what a caller's loop raises is not raised here
            with reading(self.name):
                raise
        if usual is None:
            raise ValueError(f"{self.name}: holds no episode; give a data set with at least one")

    def load(self) -> EpisodeDataset:
        """Read all of it into memory."""
        return self._dataset(list(self))

    def pieces(self) -> Iterator[EpisodeDataset]:
        """Pass once over it, in data sets of about `PIECE_BYTES` or one larger episode."""
        piece: list[Episode] = []
        size = done = 0
        for episode in self:
            piece.append(episode)
            size += episode.observations.nbytes + episode.actions.nbytes + episode.rewards.nbytes
            if size >= PIECE_BYTES:
                yield self._dataset(piece, done)
                done += len(piece)
                piece, size = [], 0
        if piece:
            yield self._dataset(piece, done)

    def _dataset(self, episodes: list[Episode], first_episode: int = 0) -> EpisodeDataset:
        return EpisodeDataset.from_episodes(
            self.name,
            episodes,
            observation_space=self.observation_space,
            action_space=self.action_space,
            env_id=self.env_id,
            env_kwargs=self.env_kwargs,
            reference=self.reference,
            first_episode=first_episode,
            spaces_inferred=self.spaces_inferred,
            notes=self.notes,
            unplayable=self.unplayable,
        )

    def _check(self, index: int, episode: Episode) -> None:
        for name, space in (
            ("observations", self.observation_space),
            ("actions", self.action_space),
            ("rewards", None),
        ):
            values = getattr(episode, name)
            check_values(self.name, name, values, space, lambda row: (index, row))


EpisodeSource: TypeAlias = EpisodeDataset | EpisodeStream


def pieces(source: EpisodeSource) -> Iterator[EpisodeDataset]:
    """Cut the source into data sets that fit in memory; one in memory is left whole."""
    if isinstance(source, EpisodeDataset):
        yield source
    else:
        yield from source.pieces()


def cut_ends(
    terminations: np.ndarray, truncations: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Make both Boolean; an episode whose last step is neither was cut, so it was truncated."""
    terminations, truncations = terminations.astype(bool), truncations.astype(bool)
    last = offsets[1:] - 1
    # Where lengths do not add up, or there is no step, the data set is refused later.
    if len(terminations) == len(truncations) == offsets[-1] > 0:
        truncations[last] |= ~terminations[last]
    return terminations, truncations
