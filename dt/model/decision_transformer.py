"""The model: embed a segment's tokens, run the transformer, read actions off the right tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.data.batches.windows import Action, Batch
from dt.model.attention import Prefix
from dt.model.embed import Embed
from dt.model.heads import CategoricalReturnHead, ExpectileReturnHead
from dt.model.heads.action import ActionHead, Prediction
from dt.model.recipe import Recipe, recipe_of
from dt.model.transformer import RingCache, Transformer
from dt.model.window_cache import Moment as Moment
from dt.model.window_cache import Window
from dt.spec.spec import PolicySpec

# What the return's head predicts, (B, P) -> the return to ask for, (B,), in the model's units.
Chooser = Callable[[Any], Any]


class NewTokens(NamedTuple):
    """Tokens that come to a sequence in one step of acting."""

    vectors: Float[Array, "B n D"]
    timesteps: Int[Array, "B n"]
    places: Int[np.ndarray, " n"]  # within their timestep's layout
    condition: Float[Array, "B n D"] | None

    def span(self, begin: int, end: int) -> NewTokens:
        condition = None if self.condition is None else self.condition[:, begin:end]
        places = self.places[begin:end]
        return NewTokens(
            self.vectors[:, begin:end], self.timesteps[:, begin:end], places, condition
        )


class DecisionTransformer(nnx.Module):
    """A causal transformer over (return, observation, action) tokens that predicts actions."""

    def __init__(self, spec: PolicySpec, *, rngs: nnx.Rngs):
        config, self.layout = spec.model, spec.layout
        recipe = recipe_of(config)
        self.cached, self.width = recipe.cached, config.width
        self.embed = Embed(spec, recipe, rngs=rngs)
        self.transformer = Transformer(
            config.width,
            config.num_layers,
            config.num_heads,
            config.context_length,
            self.layout.tokens_per_step,
            config.dropout,
            recipe,
            config.dtype,
            config.remat,
            config.scan_layers,
            self.embed.adaptive,
            spec.num_prefix,
            rngs=rngs,
        )
        self.num_prefix = spec.num_prefix
        self.head = ActionHead(
            config.width,
            spec.bounded,
            spec.action_counts,
            recipe,
            config.head,
            spec.action_edges,
            rngs=rngs,
        )
        self.return_weight = config.return_weight
        self.return_head: CategoricalReturnHead | ExpectileReturnHead
        if self.layout.return_predictor is not None:
            self.return_head = _return_head(spec, recipe, rngs)

    def __call__(
        self,
        batch: Batch,
        null_returns: Bool[Array, " B"] | None = None,
        *,
        rngs: nnx.Rngs | None = None,
    ) -> Prediction:
        """Predictions of every action, (B, T, ...), from what stands before it.

        Args:
            null_returns: rows whose return is the null token; none by default.
            rngs: for dropout; without them the model is deterministic.
        """
        return self.predictions(batch, null_returns, rngs=rngs)[0]

    def predictions(
        self,
        batch: Batch,
        null_returns: Bool[Array, " B"] | None = None,
        *,
        rngs: nnx.Rngs | None = None,
    ) -> tuple[Prediction, Float[Array, "B T P"] | None]:
        """The same, and what the return's head says of every return before it is told; or None."""
        if null_returns is None:
            null_returns = jnp.zeros(len(batch.timesteps), bool)
        tokens, condition = self.embed(batch, null_returns)
        read, also = self.layout.action_predictor, self.layout.return_predictor
        prefix = self.prefix(batch.prefix, len(batch.timesteps))
        outputs = self.transformer(
            tokens, batch.mask, read, condition=condition, also=also, prefix=prefix, rngs=rngs
        )
        if also is None:
            return self.head(outputs), None
        return self.head(outputs[0]), self.return_head(outputs[1])

    def losses(
        self,
        batch: Batch,
        null_returns: Bool[Array, " B"] | None = None,
        key: Array | None = None,
        *,
        rngs: nnx.Rngs | None = None,
    ) -> tuple[Float[Array, "B T"], dict[str, Float[Array, "B T"]]]:
        """Compute each step's loss: the weighted total, and the parts that it is the sum of.

        Args:
            key: for heads whose loss draws.

        Returns:
            The total, and each part by its name, not weighted: "action", and "return" where the
            layout predicts returns, whose weight in the total is `return_weight`.
        """
        actions, returns = self.predictions(batch, null_returns, rngs=rngs)
        total = self.head.loss(actions, batch.actions, key)
        parts = {"action": total}
        if returns is not None:
            parts["return"] = self.return_head.loss(returns, batch.returns_to_go)
            total = total + self.return_weight * parts["return"]
        return total, parts

    def init_cache(self, batch_size: int, recompute: bool = False) -> RingCache | Window:
        """What `step` remembers of the past: nothing yet.

        Args:
            recompute: compute the last timesteps anew at each step, as all recipes without a cache
                do.
        """
        if self.cached and not recompute:
            return self.transformer.init_cache(batch_size)
        nothing = Moment(
            previous_action=Action(
                jnp.zeros((batch_size, self.head.num_numbers)),
                jnp.zeros((batch_size, len(self.head.counts)), jnp.int32),
            ),
            observation=jnp.zeros((batch_size, self.width)),  # embedded: see `_window_step`
            return_to_go=jnp.zeros(batch_size, jnp.float32),
            timestep=jnp.zeros(batch_size, jnp.int32),
        )
        prefix = None
        if self.num_prefix:
            shape = (batch_size, self.num_prefix)
            prefix = Prefix(jnp.zeros((*shape, self.width)), jnp.zeros(shape, bool))
        return Window.empty(self.transformer.window, nothing, prefix)

    def prefix(self, shown: Batch | None, num_rows: int) -> Prefix | None:
        """The tokens that stand before all others; None where the model has none."""
        return self.embed.prefix(shown, num_rows) if self.num_prefix else None

    def begin(
        self, cache: RingCache | Window, rows: Bool[Array, " B"], shown: Batch | Callable[[], Batch]
    ) -> RingCache | Window:
        """Forget all of these rows, and put before what comes what they are shown, (B, P, ...).

        Args:
            shown: or what finds it, only when a row begins.
        """
        cache = cache.emptied(rows)
        if not self.num_prefix:
            return cache

        def begun(cache: Any) -> Any:
            given = None
            if self.embed.prefix_kind != "none":
                given = shown() if callable(shown) else shown
            prefix = self.embed.prefix(given, len(rows))
            if isinstance(cache, Window):
                return cache.begun(rows, prefix)
            return self.transformer.begin(cache, rows, prefix)

        return jax.lax.cond(rows.any(), begun, lambda cache: cache, cache)

    def step(
        self,
        moment: Moment,
        null_returns: Bool[Array, " B"],
        cache: RingCache | Window,
        choose: Chooser | None = None,
    ) -> tuple[Prediction, RingCache | Window, Float[Array, " B"]]:
        """The prediction of this step's action from all that went before, and the return in it.

        At timestep 0 the previous action is ignored and nothing can attend to it.

        Args:
            choose: what the return's head predicts -> the return that is asked for, in place of
                the moment's; for layouts that predict it.
        """
        if isinstance(cache, Window):
            return self._window_step(moment, null_returns, cache, choose)
        return self._cached_step(moment, null_returns, cache, choose)

    def _window_step(
        self,
        moment: Moment,
        null_returns: Bool[Array, " B"],
        window: Window,
        choose: Chooser | None,
    ) -> tuple[Prediction, Window, Float[Array, " B"]]:
        """The last prediction of `__call__` on the last context_length timesteps, so padded.

        The window holds observations as vectors: they depend on nothing else, and to make them
        anew of 30 pictures would cost more than all the rest.
        """
        seen = self.embed.observation(moment.observation)
        window = window.advanced(moment._replace(observation=seen))

        def newest(steps: Batch, read: int) -> Array:
            vectors: Any = steps.observations
            tokens, condition = self.embed.tokens(vectors, steps, null_returns)
            outputs = self.transformer(
                tokens, steps.mask, read, condition=condition, newest=True, prefix=window.prefix
            )
            return outputs[:, -1]

        asked = moment.return_to_go
        if choose is not None:
            asked = choose(self.return_head(newest(window.steps, self._return_predictor)))
            returns = window.steps.returns_to_go.at[:, -1].set(asked)
            window = window._replace(steps=window.steps._replace(returns_to_go=returns))
        return self.head(newest(window.steps, self.layout.action_predictor)), window, asked

    def _cached_step(
        self,
        moment: Moment,
        null_returns: Bool[Array, " B"],
        cache: RingCache,
        choose: Chooser | None,
    ) -> tuple[Prediction, RingCache, Float[Array, " B"]]:
        """The last prediction of `__call__` on the whole history, for this step's tokens only."""
        seen = self.embed.observation(moment.observation)
        asked, done = moment.return_to_go, 0
        if choose is not None:
            # The tokens that the return is predicted from, then the return and what follows it.
            new = self._new_tokens(seen, moment, null_returns)
            done = len(new.places) - 1
            outputs, cache = self._advance(new.span(0, done), cache, 0)
            asked = choose(self.return_head(outputs))
        new = self._new_tokens(seen, moment._replace(return_to_go=asked), null_returns)
        outputs, cache = self._advance(new.span(done, len(new.places)), cache, done)
        return self.head(outputs), cache, asked

    def _advance(self, new: NewTokens, cache: RingCache, written: int) -> tuple[Array, RingCache]:
        outputs, cache = self.transformer.step(
            new.vectors, new.timesteps, new.places, cache, new.condition, written
        )
        return outputs[:, -1], cache

    def _new_tokens(
        self, seen: Float[Array, "B D"], moment: Moment, null_returns: Bool[Array, " B"]
    ) -> NewTokens:
        """What stands in the sequence since the last action was predicted: that action, where it
        is a token, and this step's tokens before the next."""
        n, layout = self.layout.tokens_per_step, self.layout
        before = moment.timestep - 1
        # Two timesteps of tokens; kept are the last token of the one and all but it of the other.
        earlier = moment.return_to_go if moment.previous_return is None else moment.previous_return
        nothing: Any = None  # of what `step_tokens` is given as vectors
        pair = Batch(
            observations=nothing,
            actions=nothing,
            returns_to_go=jnp.stack([earlier, moment.return_to_go], axis=1),
            timesteps=jnp.stack([jnp.maximum(before, 0), moment.timestep], axis=1),
            mask=nothing,
        )
        action = None
        if layout.has("action"):
            action = self.embed.action(moment.previous_action)
            if layout.carries_previous_action:
                action = jnp.where(before[:, None] >= 0, action, 0.0)
            action = jnp.stack([action] * 2, axis=1)
        observed = jnp.stack([seen] * 2, axis=1)
        vectors, condition = self.embed.step_tokens(observed, action, pair, null_returns)
        first = n - 1 if layout.ends_with_action else n
        places = np.arange(first, first + n) % n
        old = np.arange(first, first + n) < n
        flat = vectors.reshape(len(vectors), 2 * n, -1)[:, first : first + n]
        timesteps = jnp.where(old, before[:, None], moment.timestep[:, None])
        if condition is not None:
            condition = condition[:, np.where(old, 0, 1)]
        return NewTokens(flat, timesteps, places, condition)

    @property
    def _return_predictor(self) -> int:
        place = self.layout.return_predictor
        assert place is not None, f"layout {self.layout} predicts no return"
        return place


def _return_head(
    spec: PolicySpec, recipe: Recipe, rngs: nnx.Rngs
) -> CategoricalReturnHead | ExpectileReturnHead:
    config = spec.model
    if config.return_head == "expectile":
        return ExpectileReturnHead(config.width, config.return_expectile, recipe, rngs=rngs)
    low, high = spec.return_normalizer(np.asarray(spec.return_range, np.float32)).tolist()
    if not high > low:  # every return is the same, but bins have a width
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, config.return_bins + 1, dtype=np.float32)
    return CategoricalReturnHead(config.width, edges, recipe, config.return_smoothing, rngs=rngs)


def abstract_model(spec: PolicySpec) -> DecisionTransformer:
    """The model's structure with shapes in place of weights."""
    return nnx.eval_shape(lambda: DecisionTransformer(spec, rngs=nnx.Rngs(0)))
