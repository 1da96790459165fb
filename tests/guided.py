"""An untrained policy that can be guided, played along one fixed past."""

from __future__ import annotations

import functools

import numpy as np
from flax import nnx
from tiny import make_config, make_dataset

from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.data import TrainingData
from dt.model.decision_transformer import DecisionTransformer
from dt.spec.spec import PolicySpec

DATA = make_dataset([7, 2, 11])
SPEC = PolicySpec.of(TrainingData.of(DATA), make_config().model, max_episode_steps=40)
PARAMS = nnx.state(DecisionTransformer(SPEC, rngs=nnx.Rngs(3)))
STEPS = 6  # more than the context of 3


@functools.cache  # each compiles programs of its own
def policy_with(guides_each_row: bool = False, **options: object) -> ReturnConditionedPolicy:
    acting = ActingOptions(**options)  # type: ignore[arg-type]
    return ReturnConditionedPolicy(PARAMS, SPEC, acting, guides_each_row=guides_each_row)


def played(
    policy: ReturnConditionedPolicy, targets: list[float], guidance: np.ndarray | None = None
) -> np.ndarray:
    """The actions (t, B, 2) along one past, whatever the policy would have done."""
    rng = np.random.default_rng(0)
    count, done = len(targets), []
    policy = policy.another()  # with a cache of its own, which begins at the same place
    policy.reset(targets, guidance=guidance)
    for _ in range(STEPS):
        done.append(policy.act(rng.normal(3.0, 2.0, (count, 3)).astype(np.float32)))
        taken = rng.uniform(-2, 2, (count, 2)).astype(np.float32)
        policy.observe(rng.uniform(0, 1, count), taken)
    return np.array(done)
