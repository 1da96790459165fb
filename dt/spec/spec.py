"""Everything that a policy knows besides its weights: spaces, units, limits, and its origin."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import gymnasium
import numpy as np
from jaxtyping import Float

from dt.config import ModelConfig
from dt.data.batches.windows import Batch
from dt.data.reference import Reference
from dt.data.store.rows import Columns, TrainingData
from dt.data.summary import DatasetSummary
from dt.data.transforms import Transforms
from dt.spaces.environments import EnvKwargs
from dt.spaces.parts import Parts
from dt.spec.bins import MOST_ROWS, bin_edges, placement_of
from dt.spec.codec import Codec
from dt.spec.exemplars import Exemplars
from dt.spec.layout import TokenLayout
from dt.spec.normalizer import Normalizer


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
    env_kwargs: EnvKwargs
    reference: Reference | None
    transforms: Transforms = field(default_factory=Transforms)
    # (A, K + 1) in the model's units: where bins of an action's numbers lie, if the head has any
    action_edges: Float[np.ndarray, "A K1"] | None = None
    # Weights of guidance that the policy acts by unless it is told otherwise: before and once all
    # that was asked for has come; None: unguided.
    guidance: tuple[float, float] | None = None
    exemplars: Exemplars | None = None  # what to show before an episode, where the model has that
    num_soft: int = 0  # vectors that steering puts before all tokens (see dt.steering.probe)

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
            observation_normalizer=_standardizer(data, columns.observation)
            if normalize
            else Normalizer.identity((columns.observation.stop,), data.origin(columns.observation)),
            # However small rewards are, returns are what is asked for.
            return_normalizer=Normalizer.of(
                np.asarray(moments.mean[columns.return_to_go]),
                np.asarray(moments.std[columns.return_to_go]),
                tolerance=0.0,
            ),
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
    def is_guidable(self) -> bool:
        """Whether the model learned to act both with a return and without one."""
        return self.conditional and self.model.return_dropout > 0

    @property
    def prefix_steps(self) -> int:
        """Timesteps that are shown before an episode's own."""
        return {"none": 0, "goal": 1, "prompt": self.model.prompt_length}[self.model.prefix]

    @property
    def num_prefix(self) -> int:
        """Tokens that stand before all others."""
        shown = {"none": 0, "goal": 1, "prompt": self.prefix_steps * self.layout.tokens_per_step}
        return shown[self.model.prefix] + self.model.learned_prefix + self.num_soft

    @cached_property
    def exemplar_batch(self) -> tuple[Float[np.ndarray, " X"], Batch]:
        """Returns of the data's exemplary episodes, and what is shown of them, (X, P, ...), in the
        model's units."""
        kept = self.exemplars
        assert kept is not None, "the model is shown nothing before an episode"
        return kept.returns.astype(np.float32), kept.encoded(self.codec, self.prefix_steps)

    @cached_property
    def codec(self) -> Codec:
        """What encodes observations and actions for the model, and decodes the model's."""
        return Codec(
            columns=self.columns,
            action_space=self.action_space,
            observation_parts=self.observation_parts,
            action_parts=self.action_parts,
            observation_normalizer=self.observation_normalizer,
            action_normalizer=self.action_normalizer,
            return_normalizer=self.return_normalizer,
        )

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


def _standardizer(data: TrainingData, columns: slice) -> Normalizer:
    moments, origin = data.moments, data.origin(columns)
    return Normalizer.of(moments.mean[columns], moments.std[columns], origin=origin)


def _action_normalizer(data: TrainingData) -> Normalizer:
    """Bounded numbers map to [-1, 1], others are standardised."""
    parts = Parts.of(data.action_space, images=False)
    standard = _standardizer(data, data.columns.action)
    low, high = (np.where(parts.bounded, bound, 0.0) for bound in parts.bounds)
    mean, scale = (low + high) / 2, np.maximum((high - low) / 2, 1e-8)
    if standard.origin is not None:
        mean = mean - standard.origin
    return Normalizer(
        np.where(parts.bounded, mean, standard.mean).astype(np.float32),
        np.where(parts.bounded, scale, standard.scale).astype(np.float32),
        standard.origin,
    )


def _action_edges(data: TrainingData, model: ModelConfig) -> Float[np.ndarray, "A K1"] | None:
    bounded = Parts.of(data.action_space, images=False).bounded
    placement = placement_of(model.head)
    if placement is None or not len(bounded):
        return None
    every = -(-data.num_steps // MOST_ROWS)
    values = _action_normalizer(data)(data.rows[::every, data.columns.action])
    low = np.where(bounded, -1.0, -np.inf)
    return bin_edges(values, placement, model.num_bins, low, -low)
