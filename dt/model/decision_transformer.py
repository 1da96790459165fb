"""The model: embed a segment's tokens, run the transformer, read actions off the right tokens."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.data.windows import Batch
from dt.model.embed import Embed
from dt.model.heads import CategoricalHead, ContinuousHead
from dt.model.transformer import RingCache, Transformer
from dt.spec import PolicySpec


class Moment(NamedTuple):
    """What is new at one step of acting: the action just taken, and what it led to."""

    previous_action: Any  # (B, A) float32, or (B,) int32
    observation: Float[Array, "B O"]
    return_to_go: Float[Array, " B"]
    timestep: Int[Array, " B"]


class DecisionTransformer(nnx.Module):
    """A causal transformer over (return, observation, action) tokens that predicts actions."""

    def __init__(self, spec: PolicySpec, *, rngs: nnx.Rngs):
        config, self.layout = spec.model, spec.layout
        self.embed = Embed(
            self.layout,
            spec.observation_dim,
            spec.action_dim,
            spec.discrete,
            config.width,
            spec.max_timesteps,
            rngs=rngs,
        )
        self.transformer = Transformer(
            config.width,
            config.num_layers,
            config.num_heads,
            config.context_length,
            self.layout.tokens_per_step,
            config.dropout,
            rngs=rngs,
        )
        self.head: ContinuousHead | CategoricalHead
        if spec.discrete:
            self.head = CategoricalHead(config.width, spec.action_dim, rngs=rngs)
        else:
            self.head = ContinuousHead(config.width, spec.action_dim, spec.bounded, rngs=rngs)

    def __call__(
        self,
        batch: Batch,
        null_returns: Bool[Array, " B"] | None = None,
        *,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "B T A"]:
        """Predictions of every action from what stands before it.

        Args:
            null_returns: rows whose return is the null token; none by default.
            rngs: for dropout; without them the model is deterministic.
        """
        if null_returns is None:
            null_returns = jnp.zeros(len(batch.timesteps), bool)
        tokens = self.embed(batch, null_returns)
        read = self.layout.action_predictor
        return self.head(self.transformer(tokens, batch.mask, read, rngs=rngs))

    def init_cache(self, batch_size: int) -> RingCache:
        return self.transformer.init_cache(batch_size)

    def step(
        self, moment: Moment, null_returns: Bool[Array, " B"], cache: RingCache
    ) -> tuple[Float[Array, "B A"], RingCache]:
        """The prediction of this step's action, computing this step's tokens only.

        Equals the last prediction of `__call__` on the whole history. At timestep 0 the previous
        action is ignored and nothing can attend to it.
        """
        n = self.layout.tokens_per_step
        before = moment.timestep - 1
        # Two timesteps of tokens; kept are the last token of the one and all but it of the other.
        pair = Batch(
            observations=jnp.stack([moment.observation] * 2, axis=1),
            actions=jnp.stack([moment.previous_action] * 2, axis=1),
            returns_to_go=jnp.stack([moment.return_to_go] * 2, axis=1),
            timesteps=jnp.stack([jnp.maximum(before, 0), moment.timestep], axis=1),
            mask=jnp.ones((len(moment.timestep), 2), bool),
        )
        vectors = self.embed(pair, null_returns)
        tokens = vectors.reshape(len(vectors), 2 * n, -1)[:, n - 1 : 2 * n - 1]
        places = (jnp.arange(n) - 1) % n  # the action's place is the last of its step
        timesteps = jnp.where(places == n - 1, before[:, None], moment.timestep[:, None])
        outputs, cache = self.transformer.step(tokens, timesteps, places, cache)
        return self.head(outputs[:, -1]), cache


def abstract_model(spec: PolicySpec) -> DecisionTransformer:
    """The model's structure with shapes in place of weights."""
    return nnx.eval_shape(lambda: DecisionTransformer(spec, rngs=nnx.Rngs(0)))
