"""How do observations, actions, returns and timesteps become vectors?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.data.batches.windows import Action, Batch, Observation
from dt.model.attention import Prefix
from dt.model.images import ImageEncoder
from dt.model.layers import Linear
from dt.model.recipe import EMBEDDING_INIT, Recipe
from dt.spaces.parts import Parts
from dt.spec.spec import PolicySpec


class ReturnEmbedding(nnx.Module):
    """A return and when it is asked for -> a vector, or the learned null vector for no return.

    One hidden layer whose kinks are spread over the data's range (a normalised return is mostly
    within +-2), so that returns 10 % apart can get unlike vectors; a single linear map cannot
    tell them apart once the layer norms have removed its length. The time stands beside the
    return, as the same return to go is much to ask for late in an episode and little early on.
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        spread = nnx.initializers.uniform(6.0)  # biases in [0, 6), shifted to [-3, 3) below
        self.hidden = Linear(
            2,
            width,
            kernel_init=nnx.initializers.normal(2.0),
            bias_init=lambda *args: spread(*args) - 3.0,
            rngs=rngs,
        )
        self.out = Linear(width, width, rngs=rngs)
        self.null = nnx.Param(EMBEDDING_INIT(rngs.params(), (width,)))

    def __call__(
        self, returns: Float[Array, "*b"], time: Float[Array, "*b"], is_null: Bool[Array, "*b"]
    ) -> Float[Array, "*b D"]:
        """`time` is from -2 at the start of an episode to 2 at the longest one's end."""
        vectors = self.out(jax.nn.gelu(self.hidden(jnp.stack([returns, time], axis=-1))))
        return jnp.where(is_null[..., None], self.null[...], vectors)


class TimestepEmbedding(nnx.Module):
    """A timestep -> a vector that changes smoothly with it, yet tells neighbours apart.

    Waves of geometric lengths, from 4 steps to four times the longest episode (as in Vaswani et
    al. 2017, 3.5), and a linear map of them. A learned table of one vector a timestep, as in Chen
    et al. 2021, fits each timestep to the few episodes that are at it: neighbours' vectors come
    out unrelated, and on Hopper the agent fell at the same timesteps in every episode.
    """

    def __init__(self, max_timesteps: int, width: int, *, rngs: nnx.Rngs):
        self.lengths = tuple(
            np.geomspace(4.0, 4.0 * max(max_timesteps, 2), max(1, width // 2)).tolist()
        )
        self.out = Linear(2 * len(self.lengths), width, rngs=rngs)

    def __call__(self, timesteps: Int[Array, "*b"]) -> Float[Array, "*b D"]:
        phase = timesteps[..., None] * (2 * np.pi / np.asarray(self.lengths, np.float32))
        return self.out(jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], axis=-1))


class NumbersEmbedding(nnx.Module):
    """Numbers -> a vector: a linear map of them and of learned waves of them.

    What an expert does can turn about within a fraction of a standard deviation, as at a foot's
    touchdown, and a linear map into layers of this width learns such edges last. Waves have them
    from the start (Rahimi and Recht 2007; Tancik et al. 2020): on Hopper the distance to the
    loggers' true mean actions after 2,500 updates fell by 14 %.
    """

    def __init__(self, num_numbers: int, width: int, *, rngs: nnx.Rngs):
        self.waves = Linear(num_numbers, width, kernel_init=nnx.initializers.normal(0.5), rngs=rngs)
        self.out = Linear(num_numbers + 2 * width, width, rngs=rngs)

    def __call__(self, numbers: Float[Array, "*b O"]) -> Float[Array, "*b D"]:
        phase = self.waves(numbers)
        return self.out(jnp.concatenate([numbers, jnp.sin(phase), jnp.cos(phase)], axis=-1))


class PartsEmbedding(nnx.Module):
    """Numbers, categories and pictures -> a vector: the sum of what each of them gives."""

    def __init__(
        self,
        parts: Parts,
        width: int,
        recipe: Recipe,
        table: Callable[..., nnx.Embed],
        waves: bool,
        *,
        rngs: nnx.Rngs,
    ):
        """
        Args:
            table: makes the vectors of the categories' values, those of one after another's.
            waves: of the numbers too.
        """
        self.has_numbers = parts.num_numbers > 0
        self.numbers: NumbersEmbedding | Linear
        if self.has_numbers and waves:
            self.numbers = NumbersEmbedding(parts.num_numbers, width, rngs=rngs)
        elif self.has_numbers:
            self.numbers = recipe.linear(parts.num_numbers, width, rngs=rngs)
        self.firsts = tuple(np.cumsum([0, *parts.counts[:-1]]).tolist())
        self.has_categories = len(parts.counts) > 0
        if self.has_categories:
            self.categories = table(int(parts.counts.sum()), width, rngs=rngs)
        self.num_bytes = tuple(leaf.size for leaf in parts.images)
        if self.num_bytes:
            self.images = nnx.List(
                [
                    ImageEncoder(leaf.shape, _highest(leaf.space), width, recipe, rngs=rngs)
                    for leaf in parts.images
                ]
            )

    def __call__(self, values: Observation | Action) -> Float[Array, "*b D"]:
        vectors = []
        if self.has_numbers:
            vectors.append(self.numbers(values.numbers))
        if self.has_categories:
            rows = values.categories + np.asarray(self.firsts, np.int32)
            vectors.append(self.categories(rows).sum(axis=-2))
        if isinstance(values, Observation) and self.num_bytes:
            begin = 0
            for encoder, size in zip(self.images, self.num_bytes, strict=True):
                vectors.append(encoder(values.pixels[..., begin : begin + size]))
                begin += size
        return sum(vectors[1:], vectors[0])


class Embed(nnx.Module):
    """A batch of timesteps -> the token vectors of each, in the layout's order."""

    def __init__(self, spec: PolicySpec, recipe: Recipe, *, rngs: nnx.Rngs):
        self.layout = layout = spec.layout
        self.max_timesteps = spec.max_timesteps
        width, seen = spec.model.width, spec.observation_parts

        def loud_table(rows: int, width: int, *, rngs: nnx.Rngs) -> nnx.Embed:
            # As loud as numbers are: the sum of a step's vectors has unit variance.
            init = nnx.initializers.normal(len(seen.counts) ** -0.5)
            return nnx.Embed(rows, width, embedding_init=init, rngs=rngs)

        self.observation = PartsEmbedding(
            seen, width, recipe, loud_table, recipe.number_waves, rngs=rngs
        )
        if layout.has("action"):
            acted = spec.action_parts
            self.action = PartsEmbedding(acted, width, recipe, recipe.table, False, rngs=rngs)
        self.adaptive = spec.model.conditioning == "adaln" and spec.conditional
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
        self, batch: Batch, null_returns: Bool[Array, " B"]
    ) -> tuple[Float[Array, "B T n D"], Float[Array, "B T D"] | None]:
        """One vector for each of the n tokens of a step, and the condition of each step.

        Args:
            null_returns: rows whose returns are replaced by the null token, if there is one.
        """
        return self.tokens(self.observation(batch.observations), batch, null_returns)

    def tokens(
        self, observed: Float[Array, "B T D"], batch: Batch, null_returns: Bool[Array, " B"]
    ) -> tuple[Float[Array, "B T n D"], Float[Array, "B T D"] | None]:
        """The same, of observations that are vectors already."""
        action = None
        if self.layout.ends_with_action:
            action = self.action(batch.actions)
        elif self.layout.has("action"):
            # What was done before a segment begins is not in it, and before an episode nothing was.
            known = batch.timesteps[:, 1:] > 0
            if batch.mask is not None:
                known = known & batch.mask[:, :-1]
            before = jnp.where(known[..., None], self.action(batch.actions)[:, :-1], 0.0)
            action = jnp.pad(before, ((0, 0), (1, 0), (0, 0)))
        return self.step_tokens(observed, action, batch, null_returns)

    def step_tokens(
        self,
        observed: Float[Array, "B T D"],
        action: Float[Array, "B T D"] | None,
        batch: Batch,
        null_returns: Bool[Array, " B"],
    ) -> tuple[Float[Array, "B T n D"], Float[Array, "B T D"] | None]:
        """The same, of actions that are vectors too: each step's own, or the one before it.

        A condition is what the blocks are told beside the tokens: the return's vector, where
        the model's conditioning is 'adaln'.
        """
        asked = self.asked(batch, null_returns)
        if self.squashed:
            asked, action = (None if x is None else jnp.tanh(x) for x in (asked, action))
        vectors: dict[str, Any] = {"return": asked, "observation": observed, "action": action}
        sums = (sum(vectors[part] for part in token) for token in self.layout.step)
        tokens = jnp.stack(list(sums), axis=2)
        if self.has_kinds:
            tokens = tokens + self.kind[...]
        tokens = tokens + (self.placed(batch) if self.has_places else self.timed(batch.timesteps))
        return self.norm(tokens) if self.has_norm else tokens, asked if self.adaptive else None

    def timed(self, timesteps: Int[Array, "B T"]) -> Float[Array, "B T 1 D"]:
        """The same vector for all tokens of a timestep."""
        return self.timestep(timesteps)[:, :, None]

    def placed(self, batch: Batch) -> Float[Array, "B T n D"]:
        """A vector for each token's place in its window, on that of when the window begins."""
        times = batch.timesteps
        if batch.mask is not None:  # padding may stand first, and its timesteps mean nothing
            times = jnp.where(batch.mask, times, jnp.iinfo(jnp.int32).max)
        first = times.min(axis=1, keepdims=True)
        n, T = self.layout.tokens_per_step, batch.timesteps.shape[1]
        step = jnp.clip(batch.timesteps - first, 0, T - 1)
        places = step[:, :, None] * n + np.arange(n)
        return self.place(places) + self.timed(first)

    def prefix(self, shown: Batch | None, num_rows: int) -> Prefix:
        """The tokens that stand before all others, of what is shown to each row.

        A vector of their own tells them from the episode's: what is shown has other timesteps.
        """
        tokens, real = [], []
        if self.num_learned:
            shape = (num_rows, *self.learned.shape)
            tokens.append(jnp.broadcast_to(self.norm(self.learned[...]), shape))
            real.append(jnp.ones(shape[:2], bool))
        if self.prefix_kind != "none":
            assert shown is not None, "the model is shown something before each episode"
            if self.prefix_kind == "goal":
                vectors = self.norm(self.observation(shown.observations))[:, :, None]
            else:
                nothing = jnp.zeros(len(shown.timesteps), bool)
                vectors = self(shown, nothing)[0]
            per_step = vectors.shape[2]
            tokens.append((vectors + self.shown[...]).reshape(num_rows, -1, vectors.shape[-1]))
            real.append(jnp.repeat(shown.mask, per_step, axis=1))
        return Prefix(jnp.concatenate(tokens, axis=1), jnp.concatenate(real, axis=1))

    def asked(self, batch: Batch, null_returns: Bool[Array, " B"]) -> Float[Array, "B T D"] | None:
        """The vectors of the returns; None where the model is not told any."""
        if not (self.adaptive or self.layout.has("return")):
            return None
        if isinstance(self.returns, Linear):
            return self.returns(batch.returns_to_go[..., None])
        is_null = jnp.broadcast_to(null_returns[:, None], batch.returns_to_go.shape)
        time = batch.timesteps * (4.0 / self.max_timesteps) - 2.0
        return self.returns(batch.returns_to_go, time, is_null)


def _highest(space: gymnasium.Space) -> int:
    """Of a picture's bytes; 255 of most, but symbols may be fewer."""
    assert isinstance(space, gymnasium.spaces.Box)
    return max(1, int(space.high.max()))
