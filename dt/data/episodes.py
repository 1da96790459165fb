"""What is an episode, and how do many of them lie in memory?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float, Int

from dt.spaces.environments import EnvKwargs
from dt.spaces.records import Leaf, form, is_composite, leaves

_VALUES_CHECKED: ContextVar[bool] = ContextVar("values_checked", default=True)


@contextmanager
def unchecked_values() -> Iterator[None]:
    """Within it NaN, infinity and actions that a space lacks are read: for who is to name them."""
    token = _VALUES_CHECKED.set(False)
    try:
        yield
    finally:
        _VALUES_CHECKED.reset(token)


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


@dataclass(frozen=True)
class Reference:
    """Two returns that define a normalised score: 0 is `low` (random), 100 is `high` (expert)."""

    source: str
    low: float
    high: float

    def __post_init__(self) -> None:
        if not -np.inf < self.low < self.high < np.inf:
            raise ValueError(
                f"{self.source}: reference {self.low} to {self.high}; give two finite returns, the "
                f"second above the first"
            )

    def normalize(self, returns: np.ndarray | float) -> np.ndarray | float:
        return 100.0 * (returns - self.low) / (self.high - self.low)


def task_of(env_id: str | None) -> str | None:
    """An id without its version: a task's reference is used for all of them."""
    return env_id and re.sub(r"-v\d+$", "", env_id)


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
        """These episodes alone, in this order; neighbours share this one's memory."""
        if len(episodes) and (np.diff(episodes) == 1).all():
            rows: Any = slice(self.offsets[episodes[0]], self.offsets[episodes[-1] + 1])
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
        """The undiscounted return of each episode, summed in float64."""
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
        """The (episode, step) of a row of the flat arrays, as the log numbers its episodes."""
        episode = int(np.searchsorted(self.offsets, row, side="right")) - 1
        return self.first_episode + episode, int(row - self.offsets[episode])


Shapes = dict[str, Any]


def step_shapes(episode: Episode) -> Shapes:
    """The shape of one step in each field that has numbers; of records, those of their parts."""
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


def check_values(
    name: str,
    field_name: str,
    values: np.ndarray,
    space: gymnasium.Space | None,
    locate: Callable[[int], tuple[int, int]],
) -> None:
    """Refuse values that are no finite numbers of the space; of records, part by part.

    Args:
        locate: turns a row into its (episode, step), for the message.
    """
    if space is not None and is_composite(space):
        for leaf in leaves(space):
            try:
                part = leaf.of(values)
            except (KeyError, IndexError, ValueError):
                held = form(values) if values.dtype.names else "plain arrays"
                raise ValueError(
                    f"{name}: {field_name} have no part {leaf.name}, but are {held}; "
                    f"give data of an environment with the space {space}"
                ) from None
            check_values(name, f"{field_name}/{leaf.name}", part, leaf.space, locate)
        return
    if values.dtype.kind not in "biuf":
        what = "records" if values.dtype.names else values.dtype
        raise ValueError(f"{name}: {field_name} are {what}; give numbers")
    if space is not None and values.shape[1:] != space.shape:
        raise ValueError(
            f"{name}: {field_name} have shape {values.shape[1:]} a step, "
            f"but the environment's space is {space}; give data of the same environment"
        )
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        _check_categories(name, field_name, values, Leaf((), space, "categories"), locate)
    if _VALUES_CHECKED.get() and np.issubdtype(values.dtype, np.floating):
        _check_finite(name, field_name, values, locate)


def _check_categories(
    name: str,
    field_name: str,
    values: np.ndarray,
    leaf: Leaf,
    locate: Callable[[int], tuple[int, int]],
) -> None:
    if values.dtype.kind not in "biu":
        raise ValueError(
            f"{name}: {field_name} are {values.dtype}, but the space is {leaf.space}; give integers"
        )
    if not _VALUES_CHECKED.get() or not len(values):
        return
    rows = values.reshape(len(values), leaf.size)
    low, high = leaf.starts, leaf.starts + leaf.counts - 1
    if (rows.min(axis=0) < low).any() or (rows.max(axis=0) > high).any():
        row = int(np.argmax(((rows < low) | (rows > high)).any(axis=1)))
        episode, step = locate(row)
        raise ValueError(
            f"{name}: {field_name} at episode {episode}, step {step} is {values[row]}, "
            f"outside {leaf.space}; remove the episode, or name the environment it is from"
        )


def _check_finite(
    name: str, field_name: str, values: np.ndarray, locate: Callable[[int], tuple[int, int]]
) -> None:
    with np.errstate(invalid="ignore", over="ignore"):
        total = values.sum(dtype=np.float64)  # one pass, no copy: the common case
    if np.isfinite(total):
        return
    finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if finite.all():  # the sum overflowed, the values did not
        return
    row = int(np.argmin(finite))
    episode, step = locate(row)
    value = values[row] if values[row].size <= 8 else "a row with NaN or infinity"
    raise ValueError(
        f"{name}: {field_name} at episode {episode}, step {step} is not finite "
        f"({value}); repair or remove the episode"
    )


@dataclass(frozen=True)
class Normalizer:
    """x -> (x - mean) / scale, feature by feature; works on NumPy and JAX arrays alike."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, mean: np.ndarray, std: np.ndarray, dust: float = 1e-6) -> Normalizer:
        """By mean and standard deviation; a constant feature gets scale 1.

        Args:
            dust: what varies no more than this counts as constant.
        """
        floor = np.maximum(dust, 1e-6 * np.abs(mean))
        scale = np.where(std > floor, std, 1.0)
        return cls(np.asarray(mean, np.float32), np.asarray(scale, np.float32))

    @classmethod
    def identity(cls, shape: tuple[int, ...]) -> Normalizer:
        return cls(np.zeros(shape, np.float32), np.ones(shape, np.float32))

    def __call__(self, values: Any) -> Any:
        return (values - self.mean) / self.scale

    def invert(self, values: Any) -> Any:
        return values * self.scale + self.mean
