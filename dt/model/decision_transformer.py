"""The model: embed a segment's tokens, run the transformer, read actions off the right tokens."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from dt.data.windows import Batch
from dt.model.embed import Embed
from dt.model.heads import CategoricalHead, ContinuousHead
from dt.model.recipe import recipe_of
from dt.model.transformer import RingCache, Transformer
from dt.model.window import Moment as Moment
from dt.model.window import Window
from dt.spec import PolicySpec


class DecisionTransformer(nnx.Module):
    """A causal transformer over (return, observation, action) tokens that predicts actions."""

    def __init__(self, spec: PolicySpec, *, rngs: nnx.Rngs):
        config, self.layout = spec.model, spec.layout
        recipe = recipe_of(config)
        self.cached = recipe.cached
        self.embed = Embed(
            self.layout,
            spec.observation_dim,
            spec.action_dim,
            spec.discrete,
            config.width,
            spec.max_timesteps,
            recipe,
            rngs=rngs,
        )
        self.transformer = Transformer(
            config.width,
            config.num_layers,
            config.num_heads,
            config.context_length,
            self.layout.tokens_per_step,
            config.dropout,
            recipe,
            rngs=rngs,
        )
        self.head: ContinuousHead | CategoricalHead
        if spec.discrete:
            self.head = CategoricalHead(config.width, spec.action_dim, recipe, rngs=rngs)
        else:
            self.head = ContinuousHead(
                config.width, spec.action_dim, spec.bounded, recipe, rngs=rngs
            )

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

    def init_cache(self, batch_size: int) -> RingCache | Window:
        """What `step` remembers of the past: nothing yet."""
        if self.cached:
            return self.transformer.init_cache(batch_size)
        embed = self.embed
        nothing = Moment(
            previous_action=jnp.zeros(batch_size, jnp.int32)
            if isinstance(embed.action, nnx.Embed)
            else jnp.zeros((batch_size, embed.action.in_features), jnp.float32),
            observation=jnp.zeros((batch_size, embed.observation.in_features), jnp.float32),
            return_to_go=jnp.zeros(batch_size, jnp.float32),
            timestep=jnp.zeros(batch_size, jnp.int32),
        )
        return Window.empty(self.transformer.window, nothing)

    def step(
        self, moment: Moment, null_returns: Bool[Array, " B"], cache: RingCache | Window
    ) -> tuple[Float[Array, "B A"], RingCache | Window]:
        """The prediction of this step's action from all that went before.

        At timestep 0 the previous action is ignored and nothing can attend to it.
        """
        if isinstance(cache, Window):
            return self._window_step(moment, null_returns, cache)
        return self._cached_step(moment, null_returns, cache)

    def _window_step(
        self, moment: Moment, null_returns: Bool[Array, " B"], window: Window
    ) -> tuple[Float[Array, "B A"], Window]:
        """The last prediction of `__call__` on the last context_length timesteps, so padded."""
        window = window.advanced(moment)
        tokens, read = self.embed(window.steps, null_returns), self.layout.action_predictor
        outputs = self.transformer(tokens, window.steps.mask, read, newest=True)
        return self.head(outputs[:, -1]), window

    def _cached_step(
        self, moment: Moment, null_returns: Bool[Array, " B"], cache: RingCache
    ) -> tuple[Float[Array, "B A"], RingCache]:
        """The last prediction of `__call__` on the whole history, for this step's tokens only."""
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
