"""Are the numbers of a score card right where the truth is known?"""

from __future__ import annotations

import jax
import numpy as np
import pytest
from tiny import make_config, make_dataset

import dt.evaluation.evaluate
from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.rollout import _ACTION_SEED
from dt.data import TrainingData
from dt.evaluation.evaluate import MAX_ENVS, episode_seeds, num_rows
from dt.spec.spec import PolicySpec
from dt.training.step import Learner


def test_no_evaluation_plays_an_episode_that_a_request_map_was_fitted_on() -> None:
    fitted = np.concatenate([episode_seeds(seed, 500, fitting=True) for seed in range(20)])
    played = np.concatenate([episode_seeds(seed, 500) for seed in range(20)])
    assert played.max() < 2**30 <= fitted.min()
    # Their actions are drawn from other seeds, too.
    assert played.max() + _ACTION_SEED < fitted.min() + _ACTION_SEED < 2**31
    assert len(np.unique(played)) == len(played)
    np.testing.assert_array_equal(episode_seeds(3, 5), episode_seeds(3, 9)[:5])


@pytest.mark.parametrize("recompute", [False, True])
def test_a_batch_is_cut_to_the_memory_there_is(
    monkeypatch: pytest.MonkeyPatch, recompute: bool
) -> None:
    config = make_config()
    spec = PolicySpec.of(TrainingData.of(make_dataset([9])), config.model, max_episode_steps=40)
    params = Learner(spec, config).init().params
    policy = ReturnConditionedPolicy(params, spec, ActingOptions(recompute=recompute))
    program = policy.program
    state = program.initial_state(100)
    remembered = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / 100
    assert program.bytes_per_row >= 2 * remembered
    assert num_rows(policy, 10_000) == MAX_ENVS and num_rows(policy, 70) == 70
    monkeypatch.setattr(dt.evaluation.evaluate, "free_bytes", lambda _: 100 * program.bytes_per_row)
    assert num_rows(policy, 70) == 50
    monkeypatch.setattr(dt.evaluation.evaluate, "free_bytes", lambda _: 0)
    assert num_rows(policy, 70) == 1
