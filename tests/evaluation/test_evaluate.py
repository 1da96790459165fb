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
from dt.acting.targets import parse_targets, targets_beyond
from dt.data import TrainingData
from dt.data.summary import DatasetSummary
from dt.evaluation.evaluate import MAX_ENVS, episode_seeds, num_rows
from dt.spec.spec import PolicySpec
from dt.training.step import Learner


def summarize(returns: np.ndarray) -> DatasetSummary:
    counts, edges = np.histogram(returns, bins=10)
    return DatasetSummary(
        name="planted",
        episodes=len(returns),
        steps=10 * len(returns),
        return_mean=float(returns.mean()),
        return_percentiles=tuple(np.percentile(returns, range(101)).tolist()),
        histogram_edges=tuple(edges.tolist()),
        histogram_counts=tuple(counts.tolist()),
    )


WIDE = summarize(np.linspace(0.0, 200.0, 201))  # the p-th percentile is 2p


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["50", "-2.5e1"], [50.0, -25.0]),
        (["p50", "p0", "p100"], [100.0, 0.0, 200.0]),
        (["p2.5"], [5.0]),
        (["p5:p95:3"], [10.0, 100.0, 190.0]),
        (["0:10:5"], [0.0, 2.5, 5.0, 7.5, 10.0]),
        (["p50:300:2", "7"], [100.0, 300.0, 7.0]),
        (["10:20:1"], [10.0]),
    ],
)
def test_targets_are_returns_percentiles_or_spans(words: list[str], expected: list[float]) -> None:
    assert parse_targets(words, WIDE) == pytest.approx(expected)


@pytest.mark.parametrize(
    "word", ["high", "p", "p101", "p-1", "nan", "inf", "pnan", "1:2", "1:2:0", "1:x:3", "1:2:²", ""]
)
def test_a_word_that_is_no_target_is_named(word: str) -> None:
    with pytest.raises(ValueError, match=f"--targets '{word}' is no target"):
        parse_targets(["50", word], WIDE)


def test_targets_beyond_the_data_are_above_all_of_its_returns() -> None:
    beyond = targets_beyond(1.5, WIDE)  # p5 is 10, p95 190, the highest 200
    assert beyond == pytest.approx([200 + 80 / 3, 200 + 160 / 3, 280.0])


@pytest.mark.parametrize("factor", [1.0, 0.5, -2.0, float("nan"), float("inf")])
def test_a_factor_that_leads_nowhere_is_told_which_would(factor: float) -> None:
    with pytest.raises(ValueError, match="data holds returns up to 200; give a number above 1.056"):
        targets_beyond(factor, WIDE)
    targets_beyond(1.057, WIDE)


def test_data_without_spread_has_no_beyond_to_scale() -> None:
    with pytest.raises(ValueError, match="are all 7; name the returns to ask for"):
        targets_beyond(1.5, summarize(np.full(9, 7.0)))


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
