"""Input spaces of a policy: what of a context may be changed, as numbers or as tokens.

Each is made for contexts by a function of `SPACES`; a space that a model does not have is refused
in one line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dt.data.batches.windows import Action, Batch
from dt.spec.spec import PolicySpec
from dt.steering.contexts import Contexts
from dt.steering.probe import Probe, Written, token_norms
from dt.steering.problem import OWN, Tokens, Vectors
from dt.words import there_are

NORM = 95.0  # percentile of the tokens' norms that bounds those of soft vectors
UNBOUNDED = 3.0  # deviations of an action's number that has no bounds of its own


@dataclass(frozen=True)
class Reach:
    """How far edits may go."""

    length: int = 4  # vectors of a prefix, or steps of past actions or returns
    epsilon: float = 0.1  # of observations, in standard deviations of the data
    levels: int = 101  # values of a number that is edited as a token


def return_token(probe: Probe, contexts: Contexts, reach: Reach) -> Vectors:
    """The return that is asked for at the last step."""
    low, high = _range(probe.spec, contexts)
    rows = np.arange(len(contexts))
    own = np.asarray(contexts.batch.returns_to_go)[rows, contexts.last][:, None]

    def write(batch: Batch, last: Array, values: Array) -> Written:
        returns = jnp.asarray(batch.returns_to_go)
        return Written(returns=returns.at[jnp.arange(len(last)), last].set(values[:, 0]))

    return _box("return", own, low, high, write, "normalised returns")


def past_returns(probe: Probe, contexts: Contexts, reach: Reach) -> Vectors:
    """The returns that were asked for at all steps of the context."""
    low, high = _range(probe.spec, contexts)

    def write(batch: Batch, last: Array, values: Array) -> Written:
        return Written(returns=values)

    own = np.asarray(contexts.batch.returns_to_go)
    return _box("returns", own, low, high, write, "normalised returns")


def soft_prefix(probe: Probe, contexts: Contexts, reach: Reach) -> Vectors:
    """Vectors before all tokens, their norms bounded by the 95th percentile of tokens' norms."""
    n, width = reach.length, probe.spec.model.width
    mask = np.asarray(contexts.batch.mask)
    radius = float(np.percentile(token_norms(probe, contexts.batch, mask), NORM))
    start = np.zeros((len(contexts), n * width))

    def write(batch: Batch, last: Array, values: Array) -> Written:
        return Written(prefix=values.reshape(len(last), n, width))

    wide = np.full_like(start, radius)
    return Vectors("prefix", start, -wide, wide, write, "norm", group=width, radius=radius)


def observation_ball(probe: Probe, contexts: Contexts, reach: Reach) -> Vectors:
    """Numbers added to those of the last observation, each at most epsilon deviations."""
    spec = probe.spec
    if not spec.observation_dim:
        raise ValueError(
            f"observations of {spec.observation_space} have no numbers to move; take another "
            f"--space"
        )

    def write(batch: Batch, last: Array, values: Array) -> Written:
        seen, rows = jnp.asarray(batch.observations.numbers), jnp.arange(len(last))
        return Written(observations=seen.at[rows, last].add(values))

    start = np.zeros((len(contexts), spec.observation_dim))
    return _box("observation", start, -reach.epsilon, reach.epsilon, write, "deviations")


def past_actions(probe: Probe, contexts: Contexts, reach: Reach) -> Vectors | Tokens:
    """The last k actions before the one that is chosen: tokens of one category, or numbers."""
    spec, k = probe.spec, reach.length
    _has_actions(spec, contexts, k)
    if spec.action_dim:
        return _past_numbers(spec, contexts, k)
    rows = np.arange(len(contexts))[:, None]
    places = contexts.last[:, None] - 1 - np.arange(k)
    own = np.asarray(contexts.batch.actions.categories)[rows, places, 0]
    size = spec.action_counts[0]

    def write(batch: Batch, last: Array, tokens: Array, weights: Array | None) -> Written:
        rows = jnp.arange(len(last))[:, None]
        places = last[:, None] - 1 - jnp.arange(k)
        taken = jnp.asarray(batch.actions.categories)
        chosen = jnp.where(tokens == OWN, taken[rows, places, 0], tokens)
        actions = Action(batch.actions.numbers, taken.at[rows, places, 0].set(chosen))
        if weights is None:
            return Written(actions=actions)
        spread = jnp.zeros((*taken.shape[:2], size)).at[rows, places].add(weights)
        return Written(actions=actions, weights=spread)

    return Tokens("actions", own, size, write)


def _past_numbers(spec: PolicySpec, contexts: Contexts, k: int) -> Vectors:
    rows = np.arange(len(contexts))[:, None]
    places = contexts.last[:, None] - 1 - np.arange(k)
    own = np.asarray(contexts.batch.actions.numbers)[rows, places]  # (B, k, A)

    def write(batch: Batch, last: Array, values: Array) -> Written:
        rows = jnp.arange(len(last))[:, None]
        places = last[:, None] - 1 - jnp.arange(k)
        taken = jnp.asarray(batch.actions.numbers)
        moved = taken.at[rows, places].set(values.reshape(len(last), k, -1))
        return Written(actions=Action(moved, batch.actions.categories))

    end = np.tile(np.where(spec.bounded, 1.0, UNBOUNDED), k)
    flat = own.reshape(len(own), -1)
    return _box("actions", flat, -end, end, write, "the model's units", group=spec.action_dim)


def return_levels(probe: Probe, contexts: Contexts, reach: Reach) -> Tokens:
    """The returns asked for at the last steps, each one of a ladder over the data's range."""
    low, high = _range(probe.spec, contexts)
    ladder, k = jnp.linspace(low, high, reach.levels), reach.length
    _has_steps(contexts, k - 1)

    def write(batch: Batch, last: Array, tokens: Array, weights: Array | None) -> Written:
        rows = jnp.arange(len(last))[:, None]
        places = last[:, None] - jnp.arange(k)
        own = jnp.asarray(batch.returns_to_go)
        chosen = jnp.where(tokens == OWN, own[rows, places], ladder[tokens])
        if weights is not None:
            chosen += weights @ ladder
        return Written(returns=own.at[rows, places].set(chosen))

    own = np.full((len(contexts), k), OWN)
    return Tokens("returns", own, reach.levels, write)


def observation_levels(probe: Probe, contexts: Contexts, reach: Reach) -> Tokens:
    """The numbers of the last observation, each moved to one of some levels within epsilon."""
    ball = observation_ball(probe, contexts, reach)
    ladder = jnp.linspace(-reach.epsilon, reach.epsilon, reach.levels)

    def write(batch: Batch, last: Array, tokens: Array, weights: Array | None) -> Written:
        added = jnp.where(tokens == OWN, 0.0, ladder[tokens])
        if weights is not None:
            added += weights @ ladder
        return ball.write(batch, last, added)

    own = np.full((len(contexts), probe.spec.observation_dim), OWN)
    return Tokens("observation", own, reach.levels, write)


Space = Callable[[Probe, Contexts, Reach], "Vectors | Tokens"]

# Spaces to optimise over, and those of them that have tokens for edits to be counted by.
SPACES: dict[str, Space] = {
    "return": return_token,
    "returns": past_returns,
    "prefix": soft_prefix,
    "observation": observation_ball,
    "actions": past_actions,
}
TOKEN_SPACES: dict[str, Space] = {
    "return": return_levels,
    "observation": observation_levels,
    "actions": past_actions,
}


def make_space(
    spaces: dict[str, Space], name: str, probe: Probe, contexts: Contexts, reach: Reach
) -> Any:
    """Make a space by its name.

    Raises:
        ValueError: for a name that there is not, and for a space that the model has not.
    """
    if name not in spaces:
        raise ValueError(f"no space {name!r}; {there_are(name, spaces)}")
    if name in ("return", "returns"):
        _sees_returns(probe)
    return spaces[name](probe, contexts, reach)


def steps_needed(name: str, reach: Reach) -> int:
    """Count the steps before the last that a context must have for a space."""
    return {"actions": reach.length, "return": reach.length - 1}.get(name, 0)


def _sees_returns(probe: Probe) -> None:
    if not probe.spec.conditional:
        raise ValueError(
            f"layout {probe.spec.model.layout} is told no return, so there is none to change; take "
            f"another --space"
        )
    if probe.null:
        raise ValueError(
            "the null token stands where returns would (--null); leave one of both out"
        )


def _has_actions(spec: PolicySpec, contexts: Contexts, k: int) -> None:
    if not spec.layout.has("action"):
        raise ValueError(
            f"layout {spec.model.layout} is not told past actions, so there are none to change; "
            f"take another --space"
        )
    if len(spec.action_counts) > 1 or (spec.action_counts and spec.action_dim):
        raise ValueError(
            f"actions of {spec.action_space} have several parts; past actions are changed where "
            f"they are one category, or numbers"
        )
    _has_steps(contexts, k)


def _has_steps(contexts: Contexts, k: int) -> None:
    if len(contexts) and int(contexts.last.min()) < k:
        raise ValueError(
            f"a context has {int(contexts.last.min())} step(s) before its last, and {k} are to be "
            f"changed; lower --length, or take data of longer episodes"
        )


def _range(spec: PolicySpec, contexts: Contexts) -> tuple[float, float]:
    """The data's returns-to-go, in the model's units; an imported model may not know them, and
    has those of the contexts."""
    ends = np.asarray(spec.return_range, np.float64)
    if not np.isfinite(ends).all():
        shown = np.asarray(contexts.batch.returns_to_go)
        return float(shown.min()), float(shown.max())
    low, high = spec.return_normalizer(ends.astype(np.float32)).tolist()
    return low, high


def _box(
    name: str,
    own: Float[np.ndarray, "B d"],
    low: float | np.ndarray,
    high: float | np.ndarray,
    write: Callable[[Batch, Array, Array], Written],
    unit: str,
    group: int = 1,
) -> Vectors:
    own = np.asarray(own, np.float64)
    lows, highs = np.broadcast_to(low, own.shape), np.broadcast_to(high, own.shape)
    return Vectors(name, np.clip(own, lows, highs), lows, highs, write, unit, group)
