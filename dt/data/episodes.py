"""What is an episode, and how do many of them lie in memory?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Episode:
    """One logged episode of T steps, in the words of Minari's `EpisodeData`.

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
        if not self.high > self.low:
            raise ValueError(f"{self.source}: reference {self.high} is not above {self.low}")

    def normalize(self, returns: np.ndarray | float) -> np.ndarray | float:
        return 100.0 * (returns - self.low) / (self.high - self.low)


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
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    reference: Reference | None = None

    def __post_init__(self) -> None:
        self._check_lengths()
        self._check_space("observations", self.observations, self.observation_space)
        self._check_space("actions", self.actions, self.action_space)
        for name in ("observations", "actions", "rewards"):
            self._check_finite(name, getattr(self, name))

    @classmethod
    def from_episodes(cls, name: str, episodes: Iterable[Episode], **kwargs: Any) -> EpisodeDataset:
        """Lay episodes end to end; a logged observation after the last action is dropped."""
        kept = list(episodes)
        if not kept:
            raise ValueError(f"{name}: holds no episode; give a data set with at least one")
        for e, episode in enumerate(kept):
            num_steps = len(episode)
            if len(episode.observations) not in (num_steps, num_steps + 1):
                raise ValueError(
                    f"{name}: episode {e} has {len(episode.observations)} observations for "
                    f"{num_steps} rewards; it needs {num_steps} or {num_steps + 1}"
                )
            for field_name in ("actions", "terminations", "truncations"):
                if len(getattr(episode, field_name)) != num_steps:
                    raise ValueError(
                        f"{name}: episode {e} has {len(getattr(episode, field_name))} "
                        f"{field_name} for {num_steps} rewards; it needs one a step"
                    )
        return cls(
            name=name,
            observations=np.concatenate([e.observations[: len(e)] for e in kept]),
            actions=np.concatenate([e.actions for e in kept]),
            rewards=np.concatenate([e.rewards for e in kept]),
            terminations=np.concatenate([e.terminations for e in kept]),
            truncations=np.concatenate([e.truncations for e in kept]),
            offsets=np.concatenate([[0], np.cumsum([len(e) for e in kept])]),
            **kwargs,
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Episode:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.name}: episode {index} of {len(self)}")
        index %= len(self)
        span = slice(self.offsets[index], self.offsets[index + 1])
        return Episode(
            self.observations[span],
            self.actions[span],
            self.rewards[span],
            self.terminations[span],
            self.truncations[span],
        )

    def __iter__(self) -> Iterator[Episode]:
        return (self[e] for e in range(len(self)))

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
                f"{self.name}: episode {short[0]} has {self.lengths[short[0]]} steps; remove it"
            )

    def _check_space(self, name: str, values: np.ndarray, space: gymnasium.Space) -> None:
        if values.shape[1:] != space.shape:
            raise ValueError(
                f"{self.name}: {name} have shape {values.shape[1:]} a step, "
                f"but the environment's space is {space}; give data of the same environment"
            )
        if isinstance(space, gymnasium.spaces.Discrete):
            if not np.issubdtype(values.dtype, np.integer):
                raise ValueError(
                    f"{self.name}: {name} are {values.dtype}, but the space is {space}; "
                    f"give integers"
                )
            outside = np.flatnonzero((values < space.start) | (values >= space.start + space.n))
            if len(outside):
                episode, step = self.locate(int(outside[0]))
                raise ValueError(
                    f"{self.name}: {name} at episode {episode}, step {step} is "
                    f"{values[outside[0]]}, outside {space}"
                )

    def _check_finite(self, name: str, values: np.ndarray) -> None:
        if not np.issubdtype(values.dtype, np.floating):
            return
        with np.errstate(invalid="ignore", over="ignore"):
            total = values.sum(dtype=np.float64)  # one pass, no copy: the common case
        if np.isfinite(total):
            return
        finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        if finite.all():  # the sum overflowed, the values did not
            return
        row = int(np.argmin(finite))
        episode, step = self.locate(row)
        raise ValueError(
            f"{self.name}: {name} at episode {episode}, step {step} is not finite "
            f"({values[row]}); repair or remove the episode"
        )

    def locate(self, row: int) -> tuple[int, int]:
        """The (episode, step) of a row of the flat arrays."""
        episode = int(np.searchsorted(self.offsets, row, side="right")) - 1
        return episode, int(row - self.offsets[episode])


def returns_to_go(
    rewards: Float[np.ndarray, " N"], offsets: Int[np.ndarray, " E1"]
) -> Float[np.ndarray, " N"]:
    """R_t = r_t + r_{t+1} + ... to the end of the episode, undiscounted (Chen et al. 2021, 3)."""
    rewards = rewards.astype(np.float64)
    # A suffix sum over everything, less the suffix sum that starts at the episode's end.
    suffix = np.concatenate([np.cumsum(rewards[::-1])[::-1], [0.0]])
    return (suffix[:-1] - np.repeat(suffix[offsets[1:]], np.diff(offsets))).astype(np.float32)


@dataclass(frozen=True)
class Normalizer:
    """x -> (x - mean) / scale, feature by feature; works on NumPy and JAX arrays alike."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray) -> Normalizer:
        """Mean and standard deviation over the first axis; a constant feature gets scale 1."""
        mean = values.mean(axis=0, dtype=np.float64)
        std = values.std(axis=0, dtype=np.float64)
        floor = 1e-6 * np.maximum(1.0, np.abs(mean))
        scale = np.where(std > floor, std, 1.0)
        return cls(np.asarray(mean, np.float32), np.asarray(scale, np.float32))

    @classmethod
    def identity(cls, shape: tuple[int, ...]) -> Normalizer:
        return cls(np.zeros(shape, np.float32), np.ones(shape, np.float32))

    def __call__(self, values: Any) -> Any:
        return (values - self.mean) / self.scale

    def invert(self, values: Any) -> Any:
        return values * self.scale + self.mean
