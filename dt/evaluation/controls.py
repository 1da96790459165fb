"""What the same weights bring without being asked: the control that stands on a card.

A policy that is asked for the most should bring at least what it brings unasked; where the returns
of a data set can be told from the observations alone, the unconditional policy often does better.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from dt.acting.policy import ReturnConditionedPolicy
from dt.evaluation.intervals import mean_interval, within_seen
from dt.evaluation.parts import Control
from dt.model.recipe import recipe_of


def unconditional(policy: ReturnConditionedPolicy) -> ReturnConditionedPolicy | None:
    """Make the policy of the same weights that is asked for nothing.

    Returns:
        None where the model has no such policy, and where `policy` is it or chooses for itself.
    """
    options, spec = policy.options, policy.spec
    has_null = spec.is_guidable and recipe_of(spec.model).hidden_returns
    if options.null or options.expert is not None or not has_null:
        return None
    unasked = dataclasses.replace(
        options,
        null=True,
        guidance=None,
        guidance_enough=None,
        asked=False,
        calibrated=False,
        steer="",
    )
    return ReturnConditionedPolicy(policy.params, spec, unasked)


def control_of(
    returns: Float[np.ndarray, " E"], seen: Float[np.ndarray, " 2"], rng: np.random.Generator
) -> Control:
    """Sum up what came unasked.

    Args:
        seen: lowest and highest return of the data, beyond which no interval reaches.
    """
    interval = None
    if len(returns) > 1:
        low, high = within_seen(mean_interval(returns[None], rng), returns, seen)[0].tolist()
        interval = (low, high)
    return Control("unconditional", float(returns.mean()), interval, tuple(returns.tolist()))


def outdone(
    control: Control, target: float, returns: Float[np.ndarray, " E"], rng: np.random.Generator
) -> str:
    """Say that not asking brings more than asking for the most; "" where that does not show.

    Args:
        returns: of the highest target within the data, episode by episode on the control's seeds.
    """
    more = np.asarray(control.returns) - returns
    if len(more) < 2 or mean_interval(more[None], rng)[0, 0] <= 0:
        return ""
    return f"asking for {target:.5g} brings less than not asking, {control.return_mean:.5g}"
