"""What must a policy know besides its weights? Spaces, units, limits, and where it came from."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float, UInt8

from dt.config import ModelConfig
from dt.data.batches.prefixes import Exemplars
from dt.data.batches.windows import Action, Batch, Observation, Steps, as_batch, map_arrays
from dt.data.episodes import Episode, EpisodeDataset
from dt.data.reference import Reference
from dt.data.store.moments import Moments
from dt.data.store.rows import Columns, TrainingData
from dt.data.summary import DatasetSummary
from dt.data.transforms import Transforms
from dt.files import structured
from dt.spaces.parts import Leaf, Parts
from dt.spaces.records import build
from dt.spaces.text import space_from_text, space_to_text
from dt.spec.bins import MOST_ROWS, bin_edges
from dt.spec.layout import TokenLayout
from dt.spec.normalizer import Normalizer

FORMAT = 3
# Format 2 had the columns of queries, keys and values of several heads in another order.
READABLE = {2: 1, FORMAT: 2**31}  # each with the most heads


@dataclass(frozen=True)
class PolicySpec:
    """Everything that stands between an environment's numbers and the model's.

    Raises:
        ValueError: for a space that the model does not read or write.
    """

    model: ModelConfig
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    observation_normalizer: Normalizer  # of the numbers in an observation, (O,)
    return_normalizer: Normalizer  # of returns-to-go, a scalar
    action_normalizer: Normalizer  # of the numbers in an action, (A,)
    return_range: tuple[float, float]  # of returns-to-go in the data, the environment's units
    max_timesteps: int
    dataset: DatasetSummary
    env_id: str | None
    env_kwargs: dict[str, Any]
    reference: Reference | None
    transforms: Transforms = field(default_factory=Transforms)
    # (A, K + 1) in the model's units: where bins of an action's numbers lie, if the head has any
    action_edges: Float[np.ndarray, "A K1"] | None = None
    exemplars: Exemplars | None = None  # what to show before an episode, where the model has that

    def __post_init__(self) -> None:
        TokenLayout.parse(self.model.layout, self.model.conditioning)
        self.columns  # noqa: B018 (raises for a space that is not supported)

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
        return cls(
            model=model,
            observation_space=data.observation_space,
            action_space=data.action_space,
            observation_normalizer=_standardizer(moments, columns.observation)
            if normalize
            else Normalizer.identity((columns.observation.stop,)),
            # However small rewards are, returns are what is asked for.
            return_normalizer=_standardizer(moments, columns.return_to_go, dust=0.0),
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
            action_edges=_action_edges(data, model),
            exemplars=None
            if model.prefix == "none"
            else Exemplars.spread(data, model.prefix, model.prompt_length),
        )

    @cached_property
    def columns(self) -> Columns:
        return Columns.of(self.observation_space, self.action_space)

    @property
    def conditional(self) -> bool:
        """Whether the model is told a return, in the sequence or beside it."""
        return TokenLayout.parse(self.model.layout).has("return")

    @property
    def prefix_steps(self) -> int:
        """Timesteps that are shown before an episode's own."""
        return {"none": 0, "goal": 1, "prompt": self.model.prompt_length}[self.model.prefix]

    @property
    def num_prefix(self) -> int:
        """Tokens that stand before all others."""
        shown = {"none": 0, "goal": 1, "prompt": self.prefix_steps * self.layout.tokens_per_step}
        return shown[self.model.prefix] + self.model.learned_prefix

    @cached_property
    def exemplar_batch(self) -> tuple[Float[np.ndarray, " X"], Batch]:
        """Returns of the data's exemplary episodes, and what is shown of them, (X, P, ...)."""
        kept = self.exemplars
        assert kept is not None, "the model is shown nothing before an episode"
        return kept.returns.astype(np.float32), self.shown(kept)

    def shown(self, exemplars: Exemplars) -> Batch:
        """What stands before an episode, (X, P, ...), in the model's units."""
        steps = self.encode(exemplars.rows, exemplars.images)
        return as_batch(steps, exemplars.windows, self.prefix_steps)

    def goals(self, observations: Any) -> Batch:
        """The same of B observations, an array, records or a tree, to end in: (B, 1, ...)."""
        seen = self.encode_observation(observations)
        rows = len(seen.numbers)
        nothing = Batch(
            observations=seen,
            actions=self.no_action(rows),
            returns_to_go=np.zeros(rows, np.float32),
            timesteps=np.zeros(rows, np.int32),
            mask=np.ones(rows, bool),
        )
        return map_arrays(lambda x: x[:, None], nothing)

    def prompts(self, episodes: Sequence[Episode]) -> Batch:
        """The same of B episodes, whose middles are shown: (B, P, ...)."""
        dataset = EpisodeDataset.from_episodes(
            "prompts",
            episodes,
            observation_space=self.observation_space,
            action_space=self.action_space,
        )
        all_of_them = dataclasses.replace(self.transforms, top_fraction=1.0)
        data, each = TrainingData.of(dataset, all_of_them), np.arange(len(episodes))
        return self.shown(Exemplars.of(data, "prompt", self.prefix_steps, each))

    @cached_property
    def layout(self) -> TokenLayout:
        return TokenLayout.parse(self.model.layout, self.model.conditioning)

    @cached_property
    def observation_parts(self) -> Parts:
        return Parts.of(self.observation_space)

    @cached_property
    def action_parts(self) -> Parts:
        return Parts.of(self.action_space, images=False)

    @property
    def observation_dim(self) -> int:
        """Numbers of an observation."""
        return self.observation_parts.num_numbers

    @property
    def action_dim(self) -> int:
        """Numbers of an action."""
        return self.action_parts.num_numbers

    @property
    def action_counts(self) -> tuple[int, ...]:
        """How many values each category of an action can take."""
        return tuple(self.action_parts.counts.tolist())

    @property
    def bounded(self) -> tuple[bool, ...]:
        """Which numbers of an action lie in a finite box, so that tanh reaches exactly it."""
        return tuple(self.action_parts.bounded.tolist())

    def encode(
        self, rows: Float[np.ndarray, "*N W"], pixels: UInt8[np.ndarray, "*N P"] | None = None
    ) -> Steps:
        """Rows of the data and their pictures (see `dt.data.store.rows`) in the model's units."""
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

    def encode_observation(self, observations: Any) -> Observation:
        """B observations of the environment, an array, records or a tree -> the model's units.

        This and `decode_action` take NumPy's arrays, and JAX's inside a program.
        """
        parts = self.observation_parts
        return Observation(
            self.observation_normalizer(parts.number_columns(observations)),
            parts.category_columns(observations),
            parts.pixel_columns(observations),
        )

    def encode_action(self, actions: Any) -> Action:
        """B of the environment's actions, an array, records or a tree -> the model's."""
        parts = self.action_parts
        return Action(
            self.action_normalizer(parts.number_columns(actions)), parts.category_columns(actions)
        )

    def decode_action(self, actions: Action) -> Any:
        """The model's actions, (B, ...) -> B of the environment's, inside its space.

        An array, or a tree of arrays as Gymnasium's vector environments take it.
        """
        parts = self.action_parts
        numbers = self.action_normalizer.invert(actions.numbers)
        columns = {"numbers": numbers, "categories": actions.categories + parts.starts}
        values: dict[tuple[str, ...], Any] = {}
        for kind, columns_of in columns.items():
            begin = 0
            for leaf in getattr(parts, kind):
                own = columns_of[:, begin : begin + leaf.size].reshape(-1, *leaf.shape)
                values[leaf.path] = _in_space(own, leaf)
                begin += leaf.size
        return build(self.action_space, lambda leaf: values[leaf.path])

    def no_observation(self, batch_size: int) -> Observation:
        """Zeros, in the model's units."""
        parts, rows = self.observation_parts, (batch_size,)
        return Observation(
            np.zeros((*rows, parts.num_numbers), np.float32),
            np.zeros((*rows, len(parts.counts)), np.int32),
            np.zeros((*rows, parts.num_pixels), np.uint8),
        )

    def no_action(self, batch_size: int) -> Action:
        """Zeros, in the model's units."""
        parts = self.action_parts
        return Action(
            np.zeros((batch_size, parts.num_numbers), np.float32),
            np.zeros((batch_size, len(parts.counts)), np.int32),
        )

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
            "action_edges": None if self.action_edges is None else self.action_edges.tolist(),
            "exemplars": None if self.exemplars is None else self.exemplars.to_text(),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> PolicySpec:
        if (
            values["format"] not in READABLE
            or values["model"]["num_heads"] > READABLE[values["format"]]
        ):
            raise ValueError(
                f"spec.json has format {values['format']}, this code reads {FORMAT}; "
                f"use the version of dt that wrote it"
            )
        return cls(
            model=structured(ModelConfig, values["model"], "model"),
            observation_space=space_from_text(values["observation_space"]),
            action_space=space_from_text(values["action_space"]),
            observation_normalizer=_normalizer_from_json(values["observation_normalizer"]),
            return_normalizer=_normalizer_from_json(values["return_normalizer"]),
            action_normalizer=_normalizer_from_json(values["action_normalizer"]),
            return_range=tuple(values["return_range"]),
            max_timesteps=values["max_timesteps"],
            dataset=structured(DatasetSummary, values["dataset"], "dataset"),
            env_id=values["env_id"],
            env_kwargs=values["env_kwargs"],
            reference=values["reference"]
            and structured(Reference, values["reference"], "reference"),
            transforms=structured(Transforms, values["transforms"], "transforms"),
            action_edges=_edges_from_json(values["action_edges"]),
            exemplars=Exemplars.from_text(values["exemplars"]) if values.get("exemplars") else None,
        )


def code_versions() -> dict[str, str]:
    """Versions of what decides a number, for cards and checkpoints."""
    packages = ("dt-steer", "jax", "flax", "optax", "orbax-checkpoint", "gymnasium", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def _in_space(values: Any, leaf: Leaf) -> Any:
    """Numbers rounded and clipped to their box, and all in the space's own type."""
    space, xp = leaf.space, values.__array_namespace__()
    if isinstance(space, spaces.Box):
        if np.issubdtype(space.dtype, np.integer):
            values = xp.round(values)
        values = xp.clip(values, space.low, space.high)
    # JAX has no such wide types, and takes only Python's names for them as the nearest it has.
    wide: dict[str, type] = {"float64": float, "int64": int}
    return values.astype(wide.get(str(space.dtype), space.dtype))


def _standardizer(moments: Moments, columns: slice | int, dust: float = 1e-6) -> Normalizer:
    return Normalizer.of(np.asarray(moments.mean[columns]), np.asarray(moments.std[columns]), dust)


def _action_normalizer(data: TrainingData) -> Normalizer:
    """Bounded numbers map to [-1, 1], others are standardised."""
    parts = Parts.of(data.action_space, images=False)
    standard = _standardizer(data.moments, data.columns.action)
    low, high = (np.where(parts.bounded, bound, 0.0) for bound in parts.bounds)
    mean, scale = (low + high) / 2, np.maximum((high - low) / 2, 1e-8)
    return Normalizer(
        np.where(parts.bounded, mean, standard.mean).astype(np.float32),
        np.where(parts.bounded, scale, standard.scale).astype(np.float32),
    )


def _action_edges(data: TrainingData, model: ModelConfig) -> Float[np.ndarray, "A K1"] | None:
    bounded = Parts.of(data.action_space, images=False).bounded
    if not model.head.startswith("bins-") or not len(bounded):
        return None
    kind: Literal["uniform", "quantile"] = (
        "quantile" if model.head == "bins-quantile" else "uniform"
    )
    every = -(-data.num_steps // MOST_ROWS)
    values = _action_normalizer(data)(data.rows[::every, data.columns.action])
    low = np.where(bounded, -1.0, -np.inf)
    return bin_edges(values, kind, model.num_bins, low, -low)


def _edges_from_json(values: list[list[float]] | None) -> np.ndarray | None:
    return None if values is None else np.asarray(values, np.float32)


def _normalizer_to_json(normalizer: Normalizer) -> dict[str, Any]:
    return {"mean": normalizer.mean.tolist(), "scale": normalizer.scale.tolist()}


def _normalizer_from_json(values: dict[str, Any]) -> Normalizer:
    return Normalizer(*(np.asarray(values[key], np.float32) for key in ("mean", "scale")))
