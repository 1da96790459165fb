"""Hold logged episodes in memory: one, and many of them end to end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, SupportsFloat, TypeAlias

import gymnasium
import numpy as np
from jaxtyping import Float, Int

from dt.data.checks import check_values
from dt.data.reference import Reference
from dt.spaces.arrays import Tree
from dt.spaces.environments import EnvKwargs
from dt.spaces.records import Form, form, stack_steps


@dataclass(frozen=True)
class Episode:
    """One logged episode of T steps, in the words of Minari's `EpisodeData`.

    Observations and actions of a Dict or Tuple space are records (see `dt.spaces.records`).
    `observations` holds T rows, or T + 1 when the observation after the last action was logged.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray  # (T,)
    terminations: np.ndarray  # (T,)
    truncations: np.ndarray  # (T,)

    def __len__(self) -> int:
        return len(self.rewards)

    @classmethod
    def of_steps(
        cls,
        observations: Sequence[Tree],
        actions: Sequence[Tree],
        rewards: Sequence[SupportsFloat],
        *,
        terminated: bool,
    ) -> Episode:
        """Make an episode of what a loop of one's own kept of its T steps.

        Args:
            observations: T, or T + 1 with the one after the last action, as the environment gave
                them: arrays and numbers, or dictionaries and tuples of them.
            actions: T, likewise.
            rewards: T.
            terminated: whether the last step ended the episode; False: a time limit cut it there.

        Raises:
            ValueError: when counts, parts or shapes of the steps do not agree.
        """
        num_steps = len(rewards)
        last = np.arange(num_steps) == num_steps - 1
        stacked = {}
        for name, steps in (("observations", observations), ("actions", actions)):
            try:
                stacked[name] = stack_steps(steps)
            except ValueError as error:
                raise ValueError(f"Episode.of_steps: {name}: {error}") from None
        paid = np.array([float(reward) for reward in rewards], np.float32)
        ends = {"terminations": last & terminated, "truncations": last & (not terminated)}
        episode = cls(**stacked, **ends, rewards=paid)
        check_shapes("Episode.of_steps", 0, episode, step_shapes(episode))
        return episode


@dataclass(frozen=True)
class EpisodeDataset:
    """All steps of all episodes in flat arrays; episode e is the slice `offsets[e]:offsets[e+1]`.

    Raises:
        ValueError: naming the field, the episode and the step, when the arrays disagree with one
            another or with the spaces, hold NaN or infinity, or an episode has no step.
    """

    name: str
    observations: np.ndarray  # (N, *observation shape)
    actions: np.ndarray  # (N, *action shape)
    rewards: np.ndarray  # (N,)
    terminations: np.ndarray  # (N,)
    truncations: np.ndarray  # (N,)
    offsets: np.ndarray  # (E + 1,)
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    env_id: str | None = None
    env_kwargs: EnvKwargs = field(default_factory=dict)
    reference: Reference | None = None
    first_episode: int = 0  # the number of episode 0 in the log that these are a part of
    # (E, *observation shape): after each episode's last action, where it was logged
    final_observations: np.ndarray | None = None
    spaces_inferred: bool = False  # guessed from the arrays, for the data names no environment
    notes: tuple[str, ...] = ()  # what the reader left out of a log, in sentences
    unplayable: str = ""  # why the environment of the log cannot be played; env_id is then None

    def __post_init__(self) -> None:
        self._check_lengths()
        for name, space in (
            ("observations", self.observation_space),
            ("actions", self.action_space),
            ("rewards", None),
        ):
            check_values(self.name, name, getattr(self, name), space, self.locate)
        if self.final_observations is not None:
            check_values(
                self.name,
                "observations",
                self.final_observations,
                self.observation_space,
                lambda e: (self.first_episode + e, int(self.lengths[e])),
            )

    @classmethod
    def from_episodes(cls, name: str, episodes: Iterable[Episode], **kwargs: Any) -> EpisodeDataset:
        """Lay episodes end to end.

        The observations after the last actions are kept where every episode has one.
        """
        kept = list(episodes)
        if not kept:
            raise ValueError(f"{name}: holds no episode; give a data set with at least one")
        usual = step_shapes(kept[0])
        for e, episode in enumerate(kept, kwargs.get("first_episode", 0)):
            check_shapes(name, e, episode, usual)
        finals = [e.observations[len(e) :] for e in kept]
        return cls(
            name=name,
            observations=np.concatenate([e.observations[: len(e)] for e in kept]),
            actions=np.concatenate([e.actions for e in kept]),
            rewards=np.concatenate([e.rewards for e in kept]),
            terminations=np.concatenate([e.terminations for e in kept]),
            truncations=np.concatenate([e.truncations for e in kept]),
            offsets=np.concatenate([[0], np.cumsum([len(e) for e in kept])]),
            final_observations=np.concatenate(finals) if all(map(len, finals)) else None,
            **kwargs,
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Episode:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.name}: episode {index} of {len(self)}")
        index %= len(self)
        span = slice(self.offsets[index], self.offsets[index + 1])
        observations = self.observations[span]
        if self.final_observations is not None:
            final = self.final_observations[index : index + 1]
            observations = np.concatenate([observations, final])
        return Episode(
            observations,
            self.actions[span],
            self.rewards[span],
            self.terminations[span],
            self.truncations[span],
        )

    def __iter__(self) -> Iterator[Episode]:
        return (self[e] for e in range(len(self)))

    def select(self, episodes: Int[np.ndarray, " kept"]) -> EpisodeDataset:
        """Keep these episodes alone, in this order; neighbours share this one's memory."""
        if len(episodes) and (np.diff(episodes) == 1).all():
            begin, end = self.offsets[episodes[0]], self.offsets[episodes[-1] + 1]
            rows: slice | np.ndarray = slice(begin, end)
        else:
            spans = [np.arange(self.offsets[e], self.offsets[e + 1]) for e in episodes]
            rows = np.concatenate([np.zeros(0, np.int64), *spans])
        names = ("observations", "actions", "rewards", "terminations", "truncations")
        return replace(
            self,
            **{name: getattr(self, name)[rows] for name in names},
            final_observations=None
            if self.final_observations is None
            else self.final_observations[episodes],
            offsets=np.concatenate([[0], np.cumsum(self.lengths[episodes])]),
            first_episode=self.first_episode + (int(episodes[0]) if len(episodes) else 0),
        )

    @property
    def num_steps(self) -> int:
        return len(self.rewards)

    @cached_property
    def lengths(self) -> Int[np.ndarray, " E"]:
        return np.diff(self.offsets)

    @cached_property
    def returns(self) -> Float[np.ndarray, " E"]:
        """Sum the undiscounted return of each episode, summed in float64."""
        return np.add.reduceat(self.rewards.astype(np.float64), self.offsets[:-1])

    def _check_lengths(self) -> None:
        num_steps = len(self.rewards)
        for name in ("observations", "actions", "terminations", "truncations"):
            if len(getattr(self, name)) != num_steps:
                raise ValueError(
                    f"{self.name}: {name} has {len(getattr(self, name))} rows, "
                    f"rewards has {num_steps}; every field needs one row a step"
                )
        if self.rewards.ndim != 1:
            raise ValueError(
                f"{self.name}: rewards has shape {self.rewards.shape}; it needs one number a step"
            )
        if len(self.offsets) < 2:
            raise ValueError(f"{self.name}: holds no episode; give a data set with at least one")
        if self.offsets[0] != 0 or self.offsets[-1] != num_steps:
            raise ValueError(
                f"{self.name}: the episodes cover {self.offsets[-1] - self.offsets[0]} steps, "
                f"but rewards has {num_steps}; the lengths must add up"
            )
        short = np.flatnonzero(self.lengths < 1)
        if len(short):
            raise ValueError(
                f"{self.name}: episode {self.first_episode + short[0]} has "
                f"{self.lengths[short[0]]} steps; remove it"
            )
        if self.final_observations is not None and len(self.final_observations) != len(self):
            raise ValueError(
                f"{self.name}: final_observations has {len(self.final_observations)} rows for "
                f"{len(self)} episodes; it needs one an episode"
            )

    def locate(self, row: int) -> tuple[int, int]:
        """Find the (episode, step) of a row of the flat arrays, as the log numbers its episodes."""
        episode = int(np.searchsorted(self.offsets, row, side="right")) - 1
        return self.first_episode + episode, int(row - self.offsets[episode])


Shapes: TypeAlias = dict[str, Form]


def step_shapes(episode: Episode) -> Shapes:
    """Find the shape of one step in each field that has numbers; of records, of their parts."""
    names = ("observations", "actions", "rewards")
    return {name: form(getattr(episode, name)) for name in names}


def check_shapes(name: str, index: int, episode: Episode, usual: Shapes) -> None:
    """Refuse an episode whose fields disagree with one another, or with the other episodes'."""
    num_steps = len(episode)
    if not num_steps:
        raise ValueError(f"{name}: episode {index} has 0 steps; remove it")
    if len(episode.observations) not in (num_steps, num_steps + 1):
        raise ValueError(
            f"{name}: episode {index} has {len(episode.observations)} observations for "
            f"{num_steps} rewards; it needs {num_steps} or {num_steps + 1}"
        )
    for field_name in ("actions", "terminations", "truncations"):
        if len(getattr(episode, field_name)) != num_steps:
            raise ValueError(
                f"{name}: episode {index} has {len(getattr(episode, field_name))} "
                f"{field_name} for {num_steps} rewards; it needs one a step"
            )
    for field_name, shape in step_shapes(episode).items():
        if shape != usual[field_name]:
            raise ValueError(
                f"{name}: episode {index} has {field_name} of shape {shape} a step, others have "
                f"{usual[field_name]}; give data of one environment"
            )
