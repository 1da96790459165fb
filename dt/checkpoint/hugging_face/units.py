"""Units of an imported model, and what else must be known of it: `dt.json`, and arguments."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from dt.config import ModelConfig
from dt.data.reference import Reference
from dt.data.store.origins import ROUNDED_OFF
from dt.data.summary import DatasetSummary
from dt.data.transforms import Transforms
from dt.files import read_json, reading, structured
from dt.spec.normalizer import Normalizer
from dt.spec.spec import PolicySpec
from dt.words import there_are

UNITS = "dt.json"


@dataclass(frozen=True)
class ImportedUnits:
    """What stands between an environment's numbers and the model's; the fields of dt.json.

    Raises:
        ValueError: naming a field that cannot be used.
    """

    state_mean: Any  # a number for each observation, or one for all
    state_std: Any
    return_scale: float  # returns-to-go are divided by it
    # The actions that the model's -1 and 1 stand for, by default just these; none for a model
    # without tanh, whose actions are the environment's own.
    action_low: Any = None
    action_high: Any = None
    context_length: int = 20  # timesteps that the policy looks back over
    env_id: str | None = None
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    return_range: tuple[float, float] | None = None  # the data's; returns beyond are shown clipped
    observation_shape: tuple[int, ...] | None = None  # by default a vector
    action_shape: tuple[int, ...] | None = None
    reference: Reference | None = None
    transforms: Transforms | None = None
    dataset: DatasetSummary | None = None
    sha256: str | None = None  # of model.safetensors, if all this is for that file alone

    def __post_init__(self) -> None:
        for name, above in (("state_mean", -np.inf), ("state_std", 0.0), ("return_scale", 0.0)):
            value = _numbers(name, getattr(self, name))
            if not np.isfinite(value).all() or not (value > above).all():
                needed = "finite" if above < 0 else "finite and above 0"
                raise ValueError(f"{name} is {getattr(self, name)}; it must be {needed}")

    @classmethod
    def read(cls, folder: Path, given: Mapping[str, Any] | None) -> ImportedUnits:
        """dt.json, with the `given` fields in place of its own.

        Raises:
            ValueError: naming the file, and a field that is missing, unknown or cannot be used.
        """
        path = folder / UNITS
        values: dict[str, Any] = {}
        if path.exists():
            read = read_json(path)
            if not isinstance(read, dict):
                raise ValueError(f"{path}: does not read as a JSON object")
            values = dict(read)
        values |= given or {}
        known = [each.name for each in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise ValueError(f"{path}: no field {name!r}; {there_are(name, known)}")
        missing = [name for name in known[:3] if name not in values]
        if missing:
            raise ValueError(
                f"{path}: {', '.join(missing)} not known; write them there, or give them to "
                f"load_policy(statistics={{...}})"
            )
        with reading(path):
            return structured(cls, values)

    @classmethod
    def of(cls, spec: PolicySpec, sha256: str) -> ImportedUnits:
        """A policy's own; `spec` is the inverse."""
        bounds: Any = (None, None)
        if isinstance(spec.action_space, spaces.Box) and all(spec.bounded):
            space = spec.action_space
            bounds = space.low.reshape(-1).tolist(), space.high.reshape(-1).tolist()
        return cls(
            state_mean=_whole_mean(spec.observation_normalizer).tolist(),
            state_std=spec.observation_normalizer.scale.tolist(),
            return_scale=float(spec.return_normalizer.scale),
            action_low=bounds[0],
            action_high=bounds[1],
            context_length=spec.model.context_length,
            env_id=spec.env_id,
            env_kwargs=spec.env_kwargs,
            return_range=spec.return_range if np.isfinite(spec.return_range).all() else None,
            observation_shape=spec.observation_space.shape,
            action_shape=spec.action_space.shape,
            reference=spec.reference,
            transforms=spec.transforms,
            dataset=spec.dataset if spec.dataset.episodes else None,
            sha256=sha256,
        )

    def spec(
        self,
        model: ModelConfig,
        observation_dim: int,
        action_dim: int,
        max_timesteps: int,
        tanh: bool,
    ) -> PolicySpec:
        """All that a policy knows besides its weights.

        Raises:
            ValueError: naming a field that does not fit the model.
        """
        low, high, normalizer = self._actions(action_dim, tanh)
        shape = tuple(self.action_shape or (action_dim,))
        lowest, highest = self.return_range or (-np.inf, np.inf)
        return PolicySpec(
            model=model,
            observation_space=spaces.Box(
                -np.inf, np.inf, tuple(self.observation_shape or (observation_dim,)), np.float32
            ),
            action_space=spaces.Box(low.reshape(shape), high.reshape(shape), shape, np.float32),
            observation_normalizer=_with_origin(
                _vector("state_mean", self.state_mean, observation_dim, np.float64),
                _vector("state_std", self.state_std, observation_dim),
            ),
            return_normalizer=Normalizer(
                np.zeros((), np.float32), np.asarray(self.return_scale, np.float32)
            ),
            action_normalizer=normalizer,
            return_range=(lowest, highest),
            max_timesteps=max_timesteps,
            dataset=self.dataset or unknown_dataset(),
            env_id=self.env_id,
            env_kwargs=self.env_kwargs,
            reference=self.reference,
            transforms=self.transforms or Transforms(),
        )

    def _actions(self, size: int, tanh: bool) -> tuple[np.ndarray, np.ndarray, Normalizer]:
        """Lowest and highest actions, and how the model's become the environment's."""
        names = ("action_low", "action_high")
        if not tanh:
            for name in names:
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name} is {getattr(self, name)}, but by config.json (action_tanh false) "
                        f"nothing bounds the model's actions; leave it out"
                    )
            bound = np.full(size, np.inf, np.float32)
            return -bound, bound, Normalizer.identity((size,))
        low, high = (
            _vector(name, end if getattr(self, name) is None else getattr(self, name), size)
            for name, end in zip(names, (-1.0, 1.0), strict=True)
        )
        if not (low < high).all() or not np.isfinite([low, high]).all():
            raise ValueError(
                f"action_low is {self.action_low}, action_high is {self.action_high}; they must be "
                f"finite, and low below high"
            )
        return low, high, Normalizer((low + high) / 2, (high - low) / 2)


def unknown_dataset() -> DatasetSummary:
    """Of data that nobody described: no episodes, and NaN for every percentile."""
    return DatasetSummary("unknown", 0, 0, float("nan"), (float("nan"),) * 101, (), ())


def _whole_mean(normalizer: Normalizer) -> np.ndarray:
    """The mean of what was seen itself, in float64 where float32 does not hold it."""
    return normalizer.mean if normalizer.origin is None else normalizer.mean + normalizer.origin


def _with_origin(mean: np.ndarray, scale: np.ndarray) -> Normalizer:
    """The inverse: means that float32 does not hold to a thousandth of the scale have an origin."""
    rounded = mean.astype(np.float32)
    origin = np.where(np.abs(mean - rounded) > ROUNDED_OFF * scale, mean, 0.0)
    if not origin.any():
        return Normalizer(rounded, scale)
    return Normalizer((mean - origin).astype(np.float32), scale, origin)


def _numbers(name: str, value: Any, dtype: type[np.floating] = np.float32) -> np.ndarray:
    try:
        return np.asarray(value, dtype)
    except (ValueError, TypeError):
        raise ValueError(f"{name} is {value!r}; it must be a number, or a list of them") from None


def _vector(name: str, value: Any, size: int, dtype: type[np.floating] = np.float32) -> np.ndarray:
    array = _numbers(name, value, dtype)
    if array.shape not in ((), (size,)):
        raise ValueError(f"{name} has shape {array.shape}; give {size} numbers, or one for all")
    return np.broadcast_to(array, (size,)).copy()
