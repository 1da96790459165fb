"""The points before the model: what it is told of each timestep, in its units.

`inputs.return`, `inputs.observation`, `inputs.action` are numbers, `inputs.observation.categories`
and `inputs.action.categories` whole ones. An action's timestep is the one at which it is taken.

Axes: B batch, T timesteps, L tokens.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from dt.data.batches.windows import Action, Batch, Observation
from dt.model.points import Points
from dt.model.recomputed_window import Moment
from dt.spaces.arrays import AnyArray
from dt.spec.layout import TokenLayout
from dt.spec.spec import PolicySpec

RETURN, OBSERVATION, ACTION = "inputs.return", "inputs.observation", "inputs.action"
CATEGORIES = "categories"


def input_names(spec: PolicySpec) -> tuple[str, ...]:
    """List the points of what a model is told."""
    names = [RETURN] if spec.conditional else []
    seen, acted = spec.observation_parts, spec.action_parts
    for name, parts in ((OBSERVATION, seen), (ACTION, acted)):
        if name == ACTION and not spec.layout.has("action"):
            continue
        names += [name] if parts.num_numbers else []
        names += [f"{name}.{CATEGORIES}"] if len(parts.counts) else []
    return tuple(names)


def edited_batch(batch: Batch, points: Points, layout: TokenLayout) -> Batch:
    """Let a segment's inputs pass their points."""
    times = jnp.asarray(batch.timesteps)
    return batch._replace(
        observations=_observed(batch.observations, points, times, layout),
        actions=_acted(batch.actions, points, times, layout),
        returns_to_go=_at(points, RETURN, batch.returns_to_go, times, layout, "return"),
    )


def edited_moment(moment: Moment, points: Points, layout: TokenLayout) -> Moment:
    """Let what is new at one step of acting pass its points."""
    now = moment.timestep[:, None]
    seen, acted = moment.observation, moment.previous_action
    earlier = moment.previous_return
    if earlier is not None:
        earlier = _at(points, RETURN, earlier[:, None], now - 1, layout, "return")[:, 0]
    observed = Observation(seen.numbers[:, None], seen.categories[:, None], seen.pixels)
    taken = Action(acted.numbers[:, None], acted.categories[:, None])
    observed = _observed(observed, points, now, layout)
    taken = _acted(taken, points, now - 1, layout)
    asked = _at(points, RETURN, moment.return_to_go[:, None], now, layout, "return")[:, 0]
    return moment._replace(
        observation=Observation(observed.numbers[:, 0], observed.categories[:, 0], seen.pixels),
        previous_action=Action(taken.numbers[:, 0], taken.categories[:, 0]),
        return_to_go=asked,
        previous_return=earlier,
    )


def _observed(
    seen: Observation, points: Points, times: Int[Array, "B T"], layout: TokenLayout
) -> Observation:
    part = "observation"
    return seen._replace(
        numbers=_at(points, OBSERVATION, seen.numbers, times, layout, part),
        categories=_at(points, f"{OBSERVATION}.{CATEGORIES}", seen.categories, times, layout, part),
    )


def _acted(acted: Action, points: Points, times: Int[Array, "B T"], layout: TokenLayout) -> Action:
    part = "action"
    return Action(
        _at(points, ACTION, acted.numbers, times, layout, part),
        _at(points, f"{ACTION}.{CATEGORIES}", acted.categories, times, layout, part),
    )


def _at(
    points: Points,
    name: str,
    value: AnyArray,
    times: Int[Array, "B T"],
    layout: TokenLayout,
    part: str,
) -> AnyArray:
    if name not in points.read and name not in points.do:
        return value
    where = points.where(times, np.full(times.shape[1], layout.place_of(part)))
    return points.at(name, jnp.asarray(value), where)
