"""What must a policy know besides its weights? Spaces, units, limits, and where it came from."""

from __future__ import annotations

import dataclasses
import platform
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float

from dt.config import ModelConfig
from dt.data.describe import DatasetSummary
from dt.data.episodes import Normalizer, Reference
from dt.data.rows import Columns, Moments, TrainingData, are_images
from dt.data.spaces import space_from_text, space_to_text
from dt.data.transforms import Transforms
from dt.data.windows import Steps
from dt.model.tokens import TokenLayout

FORMAT = 1


@dataclass(frozen=True)
class PolicySpec:
    """Everything that stands between an environment's numbers and the model's.

    Raises:
        ValueError: for a space that the model does not read or write.
    """

    model: ModelConfig
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    observation_normalizer: Normalizer  # over flattened observations, (O,)
    return_normalizer: Normalizer  # of returns-to-go, a scalar
    action_normalizer: Normalizer  # of continuous actions, (A,); unused for discrete ones
    return_range: tuple[float, float]  # of returns-to-go in the data, the environment's units
    max_timesteps: int
    dataset: DatasetSummary
    env_id: str | None
    env_kwargs: dict[str, Any]
    reference: Reference | None
    transforms: Transforms = field(default_factory=Transforms)

    def __post_init__(self) -> None:
        TokenLayout.parse(self.model.layout)
        if are_images(self.observation_space):
            raise ValueError(f"observation space {self.observation_space}: not pictures yet")
        if not isinstance(self.observation_space, spaces.Box):
            raise ValueError(f"observation space {self.observation_space}: Box vectors only")
        if not isinstance(self.action_space, spaces.Box | spaces.Discrete):
            raise ValueError(f"action space {self.action_space}: Box or Discrete only")

    @classmethod
    def of(
        cls,
        data: TrainingData,
        model: ModelConfig,
        max_episode_steps: int | None = None,
        reference: Reference | None = None,
    ) -> PolicySpec:
        """Fit the units on the data.

        Args:
            max_episode_steps: the environment's time limit, so that positions reach it.
        """
        known = max(int(data.lengths.max()), max_episode_steps or 0)
        if 0 < model.max_timesteps < known:
            raise ValueError(
                f"model.max_timesteps is {model.max_timesteps}, but episodes of the data or the "
                f"environment have up to {known} steps; raise it, or leave it 0"
            )
        columns, moments = data.columns, data.moments
        normalize = data.transforms.normalize_observations
        observation_dim = columns.observation.stop
        return cls(
            model=model,
            observation_space=data.observation_space,
            action_space=data.action_space,
            observation_normalizer=_standardizer(moments, columns.observation)
            if normalize
            else Normalizer.identity((observation_dim,)),
            return_normalizer=_standardizer(moments, columns.return_to_go),
            action_normalizer=_action_normalizer(data),
            return_range=(
                float(moments.low[columns.return_to_go]),
                float(moments.high[columns.return_to_go]),
            ),
            max_timesteps=model.max_timesteps or known,
            dataset=DatasetSummary.of(data),
            env_id=data.env_id,
            env_kwargs=data.env_kwargs,
            # A reference is in the environment's own rewards.
            reference=None if data.transforms.changes_returns else reference or data.reference,
            transforms=data.transforms,
        )

    @cached_property
    def columns(self) -> Columns:
        return Columns.of(self.observation_space, self.action_space)

    @cached_property
    def layout(self) -> TokenLayout:
        return TokenLayout.parse(self.model.layout)

    @property
    def observation_dim(self) -> int:
        return int(np.prod(self.observation_space.shape or ()))

    @property
    def discrete(self) -> bool:
        return isinstance(self.action_space, spaces.Discrete)

    @property
    def action_dim(self) -> int:
        """Numbers of a continuous action, or the number of discrete ones."""
        if isinstance(self.action_space, spaces.Discrete):
            return int(self.action_space.n)
        return int(np.prod(self.action_space.shape or ()))

    @property
    def bounded(self) -> bool:
        """Whether actions lie in a finite box, so that tanh reaches exactly the space."""
        space = self.action_space
        return isinstance(space, spaces.Box) and space.is_bounded()

    def encode(self, rows: Float[np.ndarray, "*N W"]) -> Steps:
        """Rows of the data (see `dt.data.rows`) in the model's units."""
        columns = self.columns
        actions = rows[..., columns.action]
        if isinstance(self.action_space, spaces.Discrete):
            encoded = actions[..., 0].astype(np.int32) - np.int32(self.action_space.start)
        else:
            encoded = self.action_normalizer(actions)
        return Steps(
            observations=self.observation_normalizer(rows[..., columns.observation]),
            actions=encoded,
            returns_to_go=self.return_normalizer(rows[..., columns.return_to_go]),
        )

    def encode_observation(self, observations: Any) -> Any:
        """(B, *shape) of the environment -> (B, O) float32 in the model's units.

        This and `decode_action` take NumPy's arrays, and JAX's inside a program.
        """
        return self.observation_normalizer(_flat(observations).astype(np.float32))

    def encode_action(self, actions: np.ndarray) -> np.ndarray:
        """The environment's actions, (B, *shape) -> the model's, (B, A) float32 or (B,) int32."""
        if isinstance(self.action_space, spaces.Discrete):
            return (actions - self.action_space.start).astype(np.int32)
        return self.action_normalizer(_flat(actions).astype(np.float32))

    def decode_action(self, actions: Any) -> Any:
        """The model's actions -> (B, *shape) of the environment, inside its space."""
        space, xp = self.action_space, actions.__array_namespace__()
        if isinstance(space, spaces.Discrete):
            return actions.astype(int) + int(space.start)
        assert isinstance(space, spaces.Box)
        shaped = self.action_normalizer.invert(actions).reshape(-1, *space.shape)
        if np.issubdtype(space.dtype, np.integer):
            shaped = xp.round(shaped)
        # JAX has no such wide types, and takes only Python's names for them as the nearest it has.
        wide: dict[str, type] = {"float64": float, "int64": int}
        dtype = wide.get(str(space.dtype), space.dtype)
        return xp.clip(shaped, space.low, space.high).astype(dtype)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "model": dataclasses.asdict(self.model),
            "observation_space": space_to_text(self.observation_space),
            "action_space": space_to_text(self.action_space),
            "observation_normalizer": _normalizer_to_json(self.observation_normalizer),
            "return_normalizer": _normalizer_to_json(self.return_normalizer),
            "action_normalizer": _normalizer_to_json(self.action_normalizer),
            "return_range": list(self.return_range),
            "max_timesteps": self.max_timesteps,
            "dataset": dataclasses.asdict(self.dataset),
            "env_id": self.env_id,
            "env_kwargs": self.env_kwargs,
            "reference": self.reference and dataclasses.asdict(self.reference),
            "transforms": dataclasses.asdict(self.transforms),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> PolicySpec:
        if values["format"] != FORMAT:
            raise ValueError(
                f"spec.json has format {values['format']}, this code reads {FORMAT}; "
                f"use the version of dt that wrote it"
            )
        summary: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values["dataset"].items()
        }
        return cls(
            model=ModelConfig(**values["model"]),
            observation_space=space_from_text(values["observation_space"]),
            action_space=space_from_text(values["action_space"]),
            observation_normalizer=_normalizer_from_json(values["observation_normalizer"]),
            return_normalizer=_normalizer_from_json(values["return_normalizer"]),
            action_normalizer=_normalizer_from_json(values["action_normalizer"]),
            return_range=tuple(values["return_range"]),
            max_timesteps=values["max_timesteps"],
            dataset=DatasetSummary(**summary),
            env_id=values["env_id"],
            env_kwargs=values["env_kwargs"],
            reference=Reference(**values["reference"]) if values["reference"] else None,
            transforms=Transforms(**values["transforms"]),
        )


def code_versions() -> dict[str, str]:
    """Versions of what decides a number, for cards and checkpoints."""
    packages = ("dt-steer", "jax", "flax", "optax", "orbax-checkpoint", "gymnasium", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def _flat(values: Any) -> Any:
    return values.reshape(len(values), -1)


def _standardizer(moments: Moments, columns: slice | int) -> Normalizer:
    return Normalizer.of(np.asarray(moments.mean[columns]), np.asarray(moments.std[columns]))


def _action_normalizer(data: TrainingData) -> Normalizer:
    """Bounded actions map to [-1, 1], others are standardised; discrete ones stay as they are."""
    space = data.action_space
    if not isinstance(space, spaces.Box):
        return Normalizer.identity(())
    if not space.is_bounded():
        return _standardizer(data.moments, data.columns.action)
    low, high = (bound.reshape(-1).astype(np.float64) for bound in (space.low, space.high))
    mean, scale = (low + high) / 2, np.maximum((high - low) / 2, 1e-8)
    return Normalizer(mean.astype(np.float32), scale.astype(np.float32))


def _normalizer_to_json(normalizer: Normalizer) -> dict[str, Any]:
    return {"mean": normalizer.mean.tolist(), "scale": normalizer.scale.tolist()}


def _normalizer_from_json(values: dict[str, Any]) -> Normalizer:
    return Normalizer(*(np.asarray(values[key], np.float32) for key in ("mean", "scale")))
