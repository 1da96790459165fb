"""A policy in a few lines of text: where it acts, what its model is, and how it acts."""

from __future__ import annotations

import dataclasses
import math

import gymnasium
import jax
from gymnasium import spaces

from dt.acting.options import AS_TRAINED, ActingOptions, title_words
from dt.model.params import Params
from dt.model.recipe import recipe_of
from dt.spaces.parts import children, is_composite
from dt.spec.spec import PolicySpec


def describe_policy(spec: PolicySpec, options: ActingOptions, params: Params) -> str:
    """Say in six lines what a policy is; its `repr`."""
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    recomputed = options.recompute or not recipe_of(spec.model).cached
    last = spec.max_timesteps - 1
    end = f"up to timestep {last}" if options.past_end == "error" else f"past {last} as at {last}"
    memory = "a window recomputed" if recomputed else "a ring cache"
    return "\n".join(
        (
            f"<ReturnConditionedPolicy of {spec.env_id or 'no environment'}",
            f"  observations  {_in_words(spec.observation_space)}",
            f"  actions       {_in_words(spec.action_space)}",
            f"  model         {spec.layout}, {parameters:,} parameters, context of "
            f"{spec.model.context_length} steps",
            f"  targets       {_targets(spec, options)}",
            f"  acts          {_manner(options)}, from {memory}, {end}>",
        )
    )


def _targets(spec: PolicySpec, options: ActingOptions) -> str:
    if not spec.conditional:
        return "none: this model is told no return"
    low, high = spec.dataset.percentile(5), spec.dataset.percentile(95)
    kind = "achieved, by the request map; " if options.calibrated else ""
    return f"{kind}known from {low:.6g} to {high:.6g} (p5 to p95 of the data's returns)"


def _manner(options: ActingOptions) -> str:
    """How actions are chosen, in the words of a card's title; the memory is said apart."""
    usual = {"recomputed": False, "calibrated": False}
    card = dataclasses.replace(options, past_end="error").to_card() | usual
    drawn = [] if options.deterministic else ["sampled"]
    clipped = [] if options.clip == AS_TRAINED.clip else ["returns not clipped"]
    return ", ".join(drawn + title_words(card) + clipped)


def _in_words(space: gymnasium.Space) -> str:
    """A space in one line: of boxes the shape and type, not each number's bounds."""
    if is_composite(space):
        parts = ", ".join(f"{name}: {_in_words(part)}" for name, part in children(space))
        return f"{type(space).__name__}({parts})"
    if isinstance(space, spaces.Box):
        return f"Box({space.shape}, {space.dtype})"
    return " ".join(repr(space).split())
