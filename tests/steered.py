"""Untrained policies of the tiny problem, and contexts of its data, for the verbs of steering."""

from __future__ import annotations

import dataclasses
import functools

from flax import nnx
from gymnasium import spaces
from tiny import make_config, make_dataset

from dt.acting.policy import ReturnConditionedPolicy
from dt.data import TrainingData
from dt.model.decision_transformer import DecisionTransformer
from dt.spec.spec import PolicySpec
from dt.steering.contexts import Contexts, draw_contexts

LENGTHS = [7, 9, 11, 8]


@functools.cache
def small(kind: str) -> tuple[ReturnConditionedPolicy, TrainingData]:
    """A policy of five actions ('discrete'), of two numbers ('numbers', 'gaussian'), or of the
    paper's recipe, as imported ones are ('imported'), or that predicts returns ('predicts')."""
    changes: dict[str, object] = {"num_layers": 1, "context_length": 5}
    if kind == "gaussian":
        changes["head"] = "gaussian"
    if kind == "imported":
        changes |= {"recipe": "chen2021", "return_dropout": 0.0}
    if kind == "predicts":
        changes["layout"] = "observation-return-action"
    space = spaces.Discrete(5, start=2) if kind in ("discrete", "predicts") else None
    data = TrainingData.of(make_dataset(LENGTHS, space))
    model = dataclasses.replace(make_config().model, **changes)  # type: ignore[arg-type]
    spec = PolicySpec.of(data, model, max_episode_steps=40)
    params = nnx.state(DecisionTransformer(spec, rngs=nnx.Rngs(5)))
    return ReturnConditionedPolicy(params, spec), data


def contexts_for(kind: str, count: int = 6, least_steps: int = 2) -> Contexts:
    policy, data = small(kind)
    return draw_contexts(data, policy.spec, count, least_steps=least_steps)
