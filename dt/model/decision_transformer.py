"""The model: embed a segment's tokens, run the transformer, read actions off the right tokens."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from dt.data.batches.windows import Batch
from dt.model import stepping
from dt.model.attention.mask import Prefix
from dt.model.embed.tokens import Embed
from dt.model.heads.action import ActionHead, Prediction
from dt.model.heads.returns import ReturnHead, make_return_head
from dt.model.inputs import edited_batch, edited_moment, input_names
from dt.model.points import Points, point_names
from dt.model.recipe import recipe_of
from dt.model.recomputed_window import Moment, RecomputedWindow
from dt.model.ring_cache import RingCache
from dt.model.stepping import Cache, Chooser, Modules
from dt.model.transformer import Transformer
from dt.spec.spec import PolicySpec


class DecisionTransformer(nnx.Module):
    """A causal transformer over (return, observation, action) tokens that predicts actions."""

    def __init__(self, spec: PolicySpec, *, rngs: nnx.Rngs):
        config, self.layout = spec.model, spec.layout
        recipe = recipe_of(config)
        self.cached = recipe.cached
        self.embed = Embed(spec, recipe, rngs=rngs)
        n, self.num_prefix = self.layout.tokens_per_step, spec.num_prefix
        self.transformer = Transformer(config, n, spec.num_prefix, rngs=rngs)
        self.head = ActionHead(spec, recipe, rngs=rngs)
        self.return_weight = config.return_weight
        self.return_head: ReturnHead
        if self.layout.return_predictor is not None:
            self.return_head = make_return_head(spec, recipe, rngs=rngs)

    def __call__(
        self,
        batch: Batch,
        null_returns: Bool[Array, " B"] | None = None,
        *,
        rngs: nnx.Rngs | None = None,
    ) -> Prediction:
        """Predict every action, (B, T, ...), from what stands before it.

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
        action_vectors: Float[Array, "B T D"] | None = None,
        rngs: nnx.Rngs | None = None,
        points: Points | None = None,
    ) -> tuple[Prediction, Float[Array, "B T P"] | None]:
        """Predict every action, and every return before it is told.

        Args:
            action_vectors: in place of those of the batch's actions: a mixture of several actions'
                can then be asked about, or a slope taken by them.
            points: what is read and edited at named points, of which `names_of_points` is the list.

        Returns:
            What the heads of actions and of returns say; None in place of the latter where the
            layout predicts no returns.
        """
        if null_returns is None:
            null_returns = jnp.zeros(len(batch.timesteps), bool)
        if points is not None:
            batch = edited_batch(batch, points, self.layout)
        tokens, condition = self.embed(batch, null_returns, points, action_vectors)
        action_place, return_place = self.layout.action_predictor, self.layout.return_predictor
        outputs = self.transformer(
            tokens,
            batch.mask,
            (action_place,) if return_place is None else (action_place, return_place),
            condition=condition,
            prefix=self.prefix(batch.prefix, len(batch.timesteps)),
            rngs=rngs,
            points=points,
            timesteps=batch.timesteps,
        )
        actions = self.head(outputs[0])
        return actions, None if return_place is None else self.return_head(outputs[1])

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

    def prefix(self, shown: Batch | None, num_rows: int) -> Prefix | None:
        """Embed the tokens that stand before all others; None where the model has none."""
        return self.embed.prefix(shown, num_rows) if self.num_prefix else None

    def init_cache(self, batch_size: int, recompute: bool = False) -> Cache:
        """Make what `step` remembers of the past: nothing yet.

        Args:
            recompute: compute the last timesteps anew at each step, as all recipes without a cache
                do.
        """
        if self.cached and not recompute:
            return RingCache.empty(self.transformer, batch_size)
        return stepping.empty_window(self._modules, batch_size)

    def begin(
        self, cache: Cache, rows: Bool[Array, " B"], shown: Batch | Callable[[], Batch] | None
    ) -> Cache:
        """Forget all of these rows, and put before what comes what they are shown, (B, P, ...).

        Args:
            shown: or what finds it, only when a row begins; None where nothing is shown.
        """
        return stepping.begin(self._modules, cache, rows, shown)

    def step(
        self,
        moment: Moment,
        null_returns: Bool[Array, " B"],
        cache: Cache,
        choose: Chooser | None = None,
        points: Points | None = None,
    ) -> tuple[Prediction, Cache, Float[Array, " B"]]:
        """Predict this step's action from all that went before, and say the return in it.

        At timestep 0 the previous action is ignored and nothing can attend to it.

        Args:
            choose: what the return's head predicts -> the return that is asked for, in place of
                the moment's; for layouts that predict it.
            points: what is read and edited at named points: with a ring cache of the step's new
                tokens, else of the whole window.
        """
        if points is not None:
            moment = edited_moment(moment, points, self.layout)
        if isinstance(cache, RecomputedWindow):
            return stepping.window_step(self._modules, moment, null_returns, cache, choose, points)
        return stepping.cached_step(self._modules, moment, null_returns, cache, choose, points)

    @property
    def _modules(self) -> Modules:
        predicts_returns = self.layout.return_predictor is not None
        return_head = self.return_head if predicts_returns else None
        return Modules(self.embed, self.transformer, self.head, return_head)


def names_of_points(spec: PolicySpec) -> tuple[str, ...]:
    """List the names of all points at which values can be read and edited, in their order."""
    told = [
        part
        for part in ("return", "observation", "action")
        if spec.layout.has(part) or (part == "return" and spec.conditional)
    ]
    tokens = spec.model.context_length * spec.layout.tokens_per_step + spec.num_prefix
    return (*input_names(spec), *point_names(spec.model.num_layers, told, tokens > 1))


def abstract_model(spec: PolicySpec) -> DecisionTransformer:
    """Make the model's structure, with shapes in place of weights."""
    return nnx.eval_shape(lambda: DecisionTransformer(spec, rngs=nnx.Rngs(0)))
