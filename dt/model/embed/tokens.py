"""Timesteps as tokens: the vectors of each, in the layout's order, and of what stands before them.

Axes: B batch, T timesteps, n tokens a timestep, D width, P timesteps that are shown.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.data.batches.windows import Batch
from dt.model.attention.mask import Prefix
from dt.model.embed.parts import PartsEmbedding
from dt.model.embed.returns import ReturnEmbedding
from dt.model.embed.timesteps import TimestepEmbedding
from dt.model.layers import Linear
from dt.model.points import TOKENS, Points
from dt.model.recipe import EMBEDDING_INIT, Recipe
from dt.model.recomputed_window import RecomputedWindow
from dt.spec.spec import PolicySpec


class Embed(nnx.Module):
    """Embeds the tokens of timesteps, in the layout's order."""

    def __init__(self, spec: PolicySpec, recipe: Recipe, *, rngs: nnx.Rngs):
        self.layout = layout = spec.layout
        self.max_timesteps = spec.max_timesteps
        self.clamps_timesteps = False  # true where an agent goes on past them, at the last one
        width, seen = spec.model.width, spec.observation_parts

        def unit_variance_table(rows: int, width: int, *, rngs: nnx.Rngs) -> nnx.Embed:
            # As large as numbers are: the sum of a step's vectors has unit variance.
            init = nnx.initializers.normal(len(seen.counts) ** -0.5)
            return nnx.Embed(rows, width, embedding_init=init, rngs=rngs)

        numbers = spec.model.number_encoder or ("waves" if recipe.number_waves else "linear")
        images = spec.model.image_encoder or "convolutions"
        self.observation = PartsEmbedding(
            seen, width, recipe, unit_variance_table, numbers, images, rngs=rngs
        )
        if layout.has("action"):
            acted = spec.action_parts
            self.action = PartsEmbedding(acted, width, recipe, recipe.table, rngs=rngs)
        self.adaptive = spec.model.conditioning == "adaln"
        self.returns: ReturnEmbedding | Linear
        if spec.conditional and recipe.hidden_returns:
            self.returns = ReturnEmbedding(width, rngs=rngs)
        elif spec.conditional:
            self.returns = recipe.linear(1, width, rngs=rngs)
        self.has_kinds = recipe.token_kinds
        if recipe.token_kinds:
            self.kind = nnx.Param(EMBEDDING_INIT(rngs.params(), (layout.tokens_per_step, width)))
        self.prefix_kind, self.num_learned = spec.model.prefix, spec.model.learned_prefix
        if self.num_learned:
            shape = (self.num_learned, width)
            self.learned = nnx.Param(EMBEDDING_INIT(rngs.params(), shape))
        self.num_soft = spec.num_soft
        if self.num_soft:
            # As tokens are after their norm; (n, D), or (B, n, D) for a prefix of each row's own.
            self.soft = nnx.Param(jnp.zeros((self.num_soft, width)))
        if self.prefix_kind != "none":
            self.shown = nnx.Param(EMBEDDING_INIT(rngs.params(), (width,)))
        self.squashed, self.has_places = recipe.squashed, recipe.places
        if recipe.places:
            rows = spec.model.context_length * layout.tokens_per_step
            self.place = recipe.table(rows, width, rngs=rngs)
        self.timestep: TimestepEmbedding | nnx.Embed
        if recipe.timestep_waves:
            self.timestep = TimestepEmbedding(spec.max_timesteps, width, rngs=rngs)
        else:
            self.timestep = recipe.table(spec.max_timesteps, width, rngs=rngs)
        self.has_norm = recipe.embedding_norm
        if recipe.embedding_norm:
            self.norm = recipe.norm(width, rngs=rngs)

    def __call__(
        self,
        batch: Batch,
        null_returns: Bool[Array, " B"],
        points: Points | None = None,
        action_vectors: Float[Array, "B T D"] | None = None,
    ) -> tuple[Float[Array, "B T n D"], Float[Array, "B T D"] | None]:
        """Embed the n tokens of each step, and the condition of each step.

        A condition is what the blocks are given beside the tokens: the return's vector, where
        the model's conditioning is 'adaln'; else None.

        Args:
            null_returns: rows whose returns are replaced by the null token, if there is one.
            points: what is read and edited of the vectors that tokens are made of.
            action_vectors: in place of those of the batch's actions.
        """
        observed = self.observation(batch.observations)
        return self.tokens(observed, batch, null_returns, points, action_vectors)

    def tokens(
        self,
        observed: Float[Array, "B T D"],
        steps: Batch | RecomputedWindow,
        null_returns: Bool[Array, " B"],
        points: Points | None = None,
        action_vectors: Float[Array, "B T D"] | None = None,
    ) -> tuple[Float[Array, "B T n D"], Float[Array, "B T D"] | None]:
        """Embed the tokens and the condition of steps whose observations are vectors already.

        Args:
            action_vectors: in place of those of the steps' actions.
        """
        action = None
        if self.layout.has("action"):
            action = self.action(steps.actions) if action_vectors is None else action_vectors
        if self.layout.carries_previous_action:
            # What was done before a segment begins is not in it, and before an episode nothing was.
            known = steps.timesteps[:, 1:] > 0
            if steps.mask is not None:
                known = known & steps.mask[:, :-1]
            assert action is not None
            before = jnp.where(known[..., None], action[:, :-1], 0.0)
            action = jnp.pad(before, ((0, 0), (1, 0), (0, 0)))
        times = self._placed(steps) if self.has_places else None
        return self.steps(
            observed, action, steps.returns_to_go, steps.timesteps, null_returns, times, points
        )

    def steps(
        self,
        observed: Float[Array, "B T D"],
        action: Float[Array, "B T D"] | None,
        returns: Float[Array, "B T"],
        timesteps: Int[Array, "B T"],
        null_returns: Bool[Array, " B"],
        times: Float[Array, "B T n D"] | None = None,
        points: Points | None = None,
    ) -> tuple[Float[Array, "B T n D"], Float[Array, "B T D"] | None]:
        """Embed the tokens and the condition of steps, from the vectors of what is in them.

        Args:
            action: of each step's own action or the one before it, as the layout has them.
            times: what says when each token is; by default the vector of its timestep.
            points: what is read and edited of the vectors of return, observation and action.
        """
        when, timesteps = timesteps, self._known(timesteps)
        asked = self._returns(returns, timesteps, null_returns)
        if self.squashed:
            asked, action = (None if x is None else jnp.tanh(x) for x in (asked, action))
        vectors = {"return": asked, "observation": observed, "action": action}
        if points is not None:
            vectors = {
                part: None if vector is None else self._at(points, part, vector, when)
                for part, vector in vectors.items()
            }
            asked = vectors["return"]
        tokens = jnp.stack([_sum(vectors, token) for token in self.layout.step], axis=2)
        if self.has_kinds:
            tokens = tokens + self.kind[...]
        tokens = tokens + (self.timestep(timesteps)[:, :, None] if times is None else times)
        return self.norm(tokens) if self.has_norm else tokens, asked if self.adaptive else None

    def _at(
        self, points: Points, part: str, vectors: Float[Array, "B T D"], timesteps: Array
    ) -> Float[Array, "B T D"]:
        """Let the vectors of a part pass its point."""
        where = points.where(timesteps, np.full(vectors.shape[1], self.layout.place_of(part)))
        return points.at(f"{TOKENS}.{part}", vectors, where)

    def _returns(
        self,
        returns: Float[Array, "B T"],
        timesteps: Int[Array, "B T"],
        null_returns: Bool[Array, " B"],
    ) -> Float[Array, "B T D"] | None:
        """Embed the returns; None where the model is not told any."""
        if not (self.adaptive or self.layout.has("return")):
            return None
        if isinstance(self.returns, Linear):
            return self.returns(returns[..., None])
        is_null = jnp.broadcast_to(null_returns[:, None], returns.shape)
        time = timesteps * (4.0 / self.max_timesteps) - 2.0
        return self.returns(returns, time, is_null)

    def _placed(self, steps: Batch | RecomputedWindow) -> Float[Array, "B T n D"]:
        """Embed each token's place in its window, and add the timestep at which it begins."""
        times = steps.timesteps
        if steps.mask is not None:  # padding may stand first, and its timesteps mean nothing
            times = jnp.where(steps.mask, times, jnp.iinfo(jnp.int32).max)
        first = times.min(axis=1, keepdims=True)
        n, T = self.layout.tokens_per_step, steps.timesteps.shape[1]
        step = jnp.clip(steps.timesteps - first, 0, T - 1)
        places = step[:, :, None] * n + np.arange(n)
        return self.place(places) + self.timestep(self._known(first))[:, :, None]

    def _known(self, timesteps: Int[Array, "*b"]) -> Int[Array, "*b"]:
        """Keep timesteps within those that there is a position for, where an agent is to go on."""
        if not self.clamps_timesteps:
            return timesteps
        return jnp.minimum(timesteps, self.max_timesteps - 1)

    def prefix(self, shown: Batch | None, num_rows: int) -> Prefix:
        """Embed what is shown to each row as the tokens that stand before all others.

        A vector of their own tells them from the episode's: what is shown has other timesteps.
        """
        tokens, real = [], []
        if self.num_soft:
            shape = (num_rows, *self.soft.shape[-2:])
            tokens.append(jnp.broadcast_to(self.soft[...], shape))
            real.append(jnp.ones(shape[:2], bool))
        if self.num_learned:
            shape = (num_rows, *self.learned.shape)
            tokens.append(jnp.broadcast_to(self.norm(self.learned[...]), shape))
            real.append(jnp.ones(shape[:2], bool))
        if self.prefix_kind != "none":
            assert shown is not None, "the model is shown something before each episode"
            assert shown.mask is not None, "what is shown says which of its steps are there"
            if self.prefix_kind == "goal":
                vectors = self.norm(self.observation(shown.observations))[:, :, None]
            else:
                nothing = jnp.zeros(len(shown.timesteps), bool)
                vectors = self(shown, nothing)[0]
            per_step = vectors.shape[2]
            tokens.append((vectors + self.shown[...]).reshape(num_rows, -1, vectors.shape[-1]))
            real.append(jnp.repeat(shown.mask, per_step, axis=1))
        return Prefix(jnp.concatenate(tokens, axis=1), jnp.concatenate(real, axis=1))


def _sum(vectors: dict[str, Array | None], token: tuple[str, ...]) -> Array:
    """Sum the vectors of the parts that share a token."""
    parts = [vector for part in token if (vector := vectors[part]) is not None]
    assert len(parts) == len(token), f"a part of token {'+'.join(token)} has no vector"
    return sum(parts[1:], 0 + parts[0])
