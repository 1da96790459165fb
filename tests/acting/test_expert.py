"""Does a model that chooses its own returns play by them, and is it told that luck is luck?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import make_config

import envs  # noqa: F401 (registers the gamble)
from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.data import EpisodeDataset, TrainingData
from dt.evaluation.card import Card
from dt.evaluation.evaluate import evaluate_policy
from dt.model.decision_transformer import DecisionTransformer
from dt.model.heads import CategoricalReturnHead, ReturnChoice
from dt.spec.spec import PolicySpec
from envs.gamble import Gamble

EPISODES = 60


def pulls(count: int) -> EpisodeDataset:
    """What pulling at random brings."""
    env, rng = Gamble(), np.random.default_rng(0)
    env.reset(seed=0)
    actions = rng.integers(0, 3, count)
    rewards = np.array([env.step(int(action))[1] for action in actions], np.float32)
    return EpisodeDataset(
        name="pulls",
        observations=np.zeros((count, 1), np.float32),
        actions=actions,
        rewards=rewards,
        terminations=np.ones(count, bool),
        truncations=np.zeros(count, bool),
        offsets=np.arange(count + 1),
        observation_space=env.observation_space,
        action_space=env.action_space,
    )


def convinced_of(place: int, **options: Any) -> ReturnConditionedPolicy:
    """A policy whose model expects the return of this bin, whatever it sees."""
    model = make_config(num_layers=1, layout="observation-return-action", return_bins=11).model
    spec = PolicySpec.of(TrainingData.of(pulls(300)), model, max_episode_steps=1)
    net = DecisionTransformer(spec, rngs=nnx.Rngs(0))
    head = net.return_head
    assert isinstance(head, CategoricalReturnHead) and head.out.bias is not None
    head.out.kernel[...] = jnp.zeros_like(head.out.kernel[...])
    head.out.bias[...] = 30.0 * jnp.eye(11)[place]
    return ReturnConditionedPolicy(nnx.state(net), spec, ActingOptions(**options))


def card_of(policy: ReturnConditionedPolicy) -> Card:
    facts: dict[str, Any] = {"env_id": "Gamble-v0", "env_kwargs": {}, "checkpoint_step": 0}
    return evaluate_policy(policy, [3.0], EPISODES, seed=0, **facts)


@pytest.mark.slow
@pytest.mark.parametrize(("place", "lucky"), [(10, True), (0, False)])
def test_a_card_tells_what_was_chosen_from_what_came(place: int, lucky: bool) -> None:
    """Rewards go from -2 to 10: who expects 10 of a pull is disappointed, who expects -2 is not."""
    policy = convinced_of(place, expert=ReturnChoice(kappa=0.0))
    card = card_of(policy)
    (row,) = card.targets
    low, high = -2 + 12 / 11 * place, -2 + 12 / 11 * (place + 1)
    assert low <= row.target <= high  # chosen, not the 3.0 that was passed
    expectation = card.expectation
    assert expectation is not None
    assert row.target == expectation.chosen_mean
    assert expectation.difference == pytest.approx(row.target - row.return_mean)
    assert ("luck in the data?" in card.verdict) == lucky
    assert card.acting.expert == ReturnChoice(kappa=0.0)


@pytest.mark.slow
def test_what_is_chosen_is_what_the_action_sees() -> None:
    """The same actions as of a policy that is told that return, and not those of another."""
    observations = np.random.default_rng(1).uniform(0.0, 1.0, (64, 1)).astype(np.float32)
    chosen, told, other = (
        convinced_of(10, expert=choice) for choice in (ReturnChoice(), None, None)
    )
    chosen.reset(np.zeros(64))
    actions = chosen.act(observations)
    told.reset(chosen.returns_to_go)
    np.testing.assert_array_equal(told.act(observations), actions)
    other.reset(np.full(64, -2.0))
    assert (other.act(observations) != actions).any()
