"""One step of acting: this step's tokens alone by a ring cache, or the last window anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dt.data.batches.windows import Action, Batch
from dt.model import ring_cache
from dt.model.attention.mask import Prefix
from dt.model.embed.tokens import Embed
from dt.model.heads.action import ActionHead, Prediction
from dt.model.heads.returns import ReturnHead
from dt.model.points import Points
from dt.model.recomputed_window import Moment, RecomputedWindow
from dt.model.ring_cache import RingCache
from dt.model.transformer import Transformer

# What the return's head predicts, (B, P) -> the return to ask for, (B,), in the model's units.
Chooser: TypeAlias = Callable[[Array], Array]
Cache: TypeAlias = RingCache | RecomputedWindow


class Modules(NamedTuple):
    """The modules of a decision transformer that a step of acting goes through."""

    embed: Embed
    transformer: Transformer
    head: ActionHead
    return_head: ReturnHead | None  # None where the layout predicts no return

    def expected_return(self, vectors: Float[Array, "B D"]) -> Float[Array, "B P"]:
        assert self.return_head is not None, f"layout {self.embed.layout} predicts no return"
        return self.return_head(vectors)


class NewTokens(NamedTuple):
    """Tokens that come to a sequence in one step of acting."""

    vectors: Float[Array, "B n D"]
    timesteps: Int[Array, "B n"]
    places: Int[np.ndarray, " n"]  # within their timestep's layout
    condition: Float[Array, "B n D"] | None

    def span(self, begin: int, end: int) -> NewTokens:
        """Cut out the tokens from `begin` up to, not with, `end`."""
        condition = None if self.condition is None else self.condition[:, begin:end]
        places = self.places[begin:end]
        return NewTokens(
            self.vectors[:, begin:end], self.timesteps[:, begin:end], places, condition
        )


def empty_window(modules: Modules, batch_size: int) -> RecomputedWindow:
    """Make a window of the last context_length timesteps that holds nothing yet."""
    head, transformer = modules.head, modules.transformer
    action = Action(
        jnp.zeros((batch_size, head.num_numbers)),
        jnp.zeros((batch_size, len(head.counts)), jnp.int32),
    )
    width, prefix = transformer.config.width, None
    if transformer.num_prefix:
        shape = (batch_size, transformer.num_prefix)
        prefix = Prefix(jnp.zeros((*shape, width)), jnp.zeros(shape, bool))
    return RecomputedWindow.empty(transformer.window, width, action, prefix)


def begin(
    modules: Modules,
    cache: Cache,
    rows: Bool[Array, " B"],
    shown: Batch | Callable[[], Batch] | None,
) -> Cache:
    """Forget all of these rows, and put before what comes what they are shown, (B, P, ...).

    Args:
        shown: or what finds it, only when a row begins; None where nothing is shown.
    """
    cache = cache.emptied(rows)
    if not modules.transformer.num_prefix:
        return cache

    def begun(cache: Cache) -> Cache:
        given = None
        if modules.embed.prefix_kind != "none":
            given = shown() if callable(shown) else shown
        prefix = modules.embed.prefix(given, len(rows))
        if isinstance(cache, RecomputedWindow):
            return cache.begun(rows, prefix)
        return ring_cache.begin(modules.transformer, cache, rows, prefix)

    return jax.lax.cond(rows.any(), begun, lambda cache: cache, cache)


def window_step(
    modules: Modules,
    moment: Moment,
    null_returns: Bool[Array, " B"],
    window: RecomputedWindow,
    choose: Chooser | None,
    points: Points | None = None,
) -> tuple[Prediction, RecomputedWindow, Float[Array, " B"]]:
    """Compute the last prediction of the whole model on the last context_length timesteps.

    Places that are not yet taken are padding on the left.
    """
    embed, layout = modules.embed, modules.embed.layout
    window = window.advanced(moment, embed.observation(moment.observation))

    def newest(window: RecomputedWindow, place: int) -> Float[Array, "B D"]:
        tokens, condition = embed.tokens(window.observations, window, null_returns, points)
        (outputs,) = modules.transformer(
            tokens,
            window.mask,
            (place,),
            condition=condition,
            newest=True,
            prefix=window.prefix,
            points=points,
            timesteps=window.timesteps,
        )
        return outputs[:, -1]

    asked = moment.return_to_go
    if choose is not None:
        assert layout.return_predictor is not None, f"layout {layout} predicts no return"
        asked = choose(modules.expected_return(newest(window, layout.return_predictor)))
        window = window._replace(returns_to_go=window.returns_to_go.at[:, -1].set(asked))
    return modules.head(newest(window, layout.action_predictor)), window, asked


def cached_step(
    modules: Modules,
    moment: Moment,
    null_returns: Bool[Array, " B"],
    cache: RingCache,
    choose: Chooser | None,
    points: Points | None = None,
) -> tuple[Prediction, RingCache, Float[Array, " B"]]:
    """Compute the last prediction of the whole model on all of the past, of new tokens alone."""
    observed = modules.embed.observation(moment.observation)
    asked, done = moment.return_to_go, 0

    def advance(new: NewTokens, cache: RingCache, written: int) -> tuple[Array, RingCache]:
        outputs, cache = ring_cache.step(
            modules.transformer,
            new.vectors,
            new.timesteps,
            new.places,
            cache,
            new.condition,
            written,
            points,
        )
        return outputs[:, -1], cache

    if choose is not None:
        # The tokens that the return is predicted from, then the return and what follows it.
        new = new_tokens(modules.embed, observed, moment, null_returns, points)
        done = len(new.places) - 1
        outputs, cache = advance(new.span(0, done), cache, 0)
        asked = choose(modules.expected_return(outputs))
    moment = moment._replace(return_to_go=asked)
    new = new_tokens(modules.embed, observed, moment, null_returns, points)
    outputs, cache = advance(new.span(done, len(new.places)), cache, done)
    return modules.head(outputs), cache, asked


def new_tokens(
    embed: Embed,
    observed: Float[Array, "B D"],
    moment: Moment,
    null_returns: Bool[Array, " B"],
    points: Points | None = None,
) -> NewTokens:
    """Embed what came to the sequence since the last action was predicted.

    That is this action, where it is a token, and this step's tokens before the next action.

    Args:
        observed: the vector of the moment's observation.
    """
    layout, n = embed.layout, embed.layout.tokens_per_step
    before = moment.timestep - 1
    action = None
    if layout.has("action"):
        action = embed.action(moment.previous_action)
        if layout.carries_previous_action:
            action = jnp.where(before[:, None] >= 0, action, 0.0)
    # The tokens of two timesteps, of which those that are new stand in a row: an action that is a
    # token is the last of the timestep before, and the next one is not there yet.
    earlier = moment.return_to_go if moment.previous_return is None else moment.previous_return
    tokens, condition = embed.steps(
        _twice(observed),
        None if action is None else _twice(action),
        returns=jnp.stack([earlier, moment.return_to_go], axis=1),
        timesteps=jnp.stack([jnp.maximum(before, 0), moment.timestep], axis=1),
        null_returns=null_returns,
        points=points,
    )
    first = n - 1 if layout.ends_with_action else n
    of, places = np.divmod(np.arange(first, first + n), n)  # which of the two, and where in it
    vectors = tokens.reshape(len(tokens), 2 * n, -1)[:, first : first + n]
    timesteps = jnp.where(of == 0, before[:, None], moment.timestep[:, None])
    return NewTokens(vectors, timesteps, places, None if condition is None else condition[:, of])


def _twice(vectors: Float[Array, "B D"]) -> Float[Array, "B 2 D"]:
    return jnp.stack([vectors] * 2, axis=1)
