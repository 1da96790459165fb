"""A walk of 3 to 12 steps, as its seed decides, and untrained policies for it and for others."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium
import numpy as np
from flax import nnx
from gymnasium import spaces
from gymnasium.experimental.functional import FuncEnv
from tiny import make_config, make_dataset

from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.rollout import Rollouts
from dt.data import TrainingData
from dt.data.transforms import Transforms
from dt.model.decision_transformer import DecisionTransformer
from dt.spec.spec import PolicySpec

ONE_LAYER = make_config(num_layers=1).model


class Walk(gymnasium.Env):
    """Ends after 3 to 12 steps, as its seed decides; the reward depends on the action."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = spaces.Box(-2.0, 2.0, (2,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(3, 13))
        self.position = self.np_random.normal(size=3).astype(np.float32)
        return self.position, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.left > 0, "stepped after its end"
        self.left -= 1
        self.position = self.position + np.float32(action.sum() / 10)
        return self.position, 1.0 + float(action[0]), self.left == 0, False, {}


def make_policy() -> ReturnConditionedPolicy:
    dataset = make_dataset([7, 2, 11])
    spec = PolicySpec.of(TrainingData.of(dataset), ONE_LAYER, max_episode_steps=40)
    return ReturnConditionedPolicy(nnx.state(DecisionTransformer(spec, rngs=nnx.Rngs(0))), spec)


def make_policy_for(env: FuncEnv, **changes: Any) -> ReturnConditionedPolicy:
    """An untrained one, in the units of random data of the environment's spaces."""
    dataset = make_dataset([7, 2, 11], spaces.Discrete(3))
    rng = np.random.default_rng(0)
    observation_space, action_space = env.observation_space, env.action_space
    shape = observation_space.shape or ()
    if isinstance(action_space, spaces.Discrete):
        actions = rng.integers(0, action_space.n, 20) + action_space.start
    else:
        actions = rng.uniform(-1, 1, (20, *(action_space.shape or ()))).astype(np.float32)
    dataset = dataclasses.replace(
        dataset,
        observations=rng.normal(0.0, 1.0, (20, *shape)).astype(observation_space.dtype),
        actions=actions,
        observation_space=observation_space,
        action_space=action_space,
    )
    data = TrainingData.of(dataset, Transforms(**changes))
    spec = PolicySpec.of(data, ONE_LAYER, max_episode_steps=40)
    return ReturnConditionedPolicy(nnx.state(DecisionTransformer(spec, rngs=nnx.Rngs(0))), spec)


def assert_equal(a: Rollouts, b: Rollouts, rtol: float = 0.0) -> None:
    np.testing.assert_array_equal(a.targets, b.targets)
    np.testing.assert_array_equal(a.lengths, b.lengths)
    np.testing.assert_allclose(a.returns, b.returns, rtol=rtol)
