"""Measuring what inputs bring: the response is found, within the budget, and kept in the run."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from walk import Walk, make_policy

from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.evaluation.evaluate import Venue
from dt.steering import inverting
from dt.steering.response import Response, features


def test_a_response_is_found_from_a_few_noisy_episodes() -> None:
    """A step at 0.5 and a slope after it; known within its own interval where nothing was tried."""
    rng = np.random.default_rng(0)

    def truth(x: np.ndarray) -> np.ndarray:
        return 100.0 * (x > 0.5) + 50.0 * x

    at = np.linspace(0.0, 1.0, 41)[:, None]
    tried = at[::2]
    returns = truth(tried[:, 0])[:, None] + rng.normal(0.0, 10.0, (21, 4))
    response = Response.fit(
        tried, returns.mean(axis=1), returns.var(axis=1, ddof=1), np.full(21, 4)
    )
    mean, covariance = response.posterior(at)
    deviation = np.sqrt(np.diag(covariance))
    assert np.abs(mean - truth(at[:, 0])).mean() < 8.0
    assert (np.abs(mean - truth(at[:, 0])) < 3 * deviation + 1.0).mean() > 0.9
    far, unknown = response.posterior(np.array([[30.0]]))
    assert far[0] == pytest.approx(response.centre, abs=1.0)
    assert unknown[0, 0] > 25 * covariance.diagonal().min()


def test_an_input_of_one_episode_borrows_the_others_spread() -> None:
    inputs = np.array([[0.0], [0.5], [1.0]])
    means, variances = np.array([0.0, 5.0, 10.0]), np.array([4.0, 0.0, 4.0])
    response = Response.fit(inputs, means, variances, np.array([5, 1, 5]))
    assert response.noise[1] == pytest.approx(4.0)
    assert response.noise[0] == pytest.approx(4.0 / 5)


def test_features_put_requests_and_weights_in_comparable_units() -> None:
    weights = np.array([[1.0, 7.0, 0.1], [0.0, 0.0, 0.0]])
    rows = features(np.array([10.0, 30.0]), weights, (10.0, 30.0))
    np.testing.assert_allclose(rows, [[0.0, 1 / 3, 1.0, 0.3], [1.0, 0.0, 0.0, 0.0]])


@pytest.fixture
def walk_registered() -> str:
    if "Walk-v0" not in gymnasium.registry:
        gymnasium.register("Walk-v0", Walk)
    return "Walk-v0"


@pytest.mark.slow
def test_the_budget_is_kept_and_what_was_played_is_what_is_told(walk_registered: str) -> None:
    plain = make_policy()
    policy = ReturnConditionedPolicy(
        plain.params, plain.spec, ActingOptions(), guides_each_row=True
    )
    steps: list[tuple[int, int]] = []
    venue = Venue(walk_registered, {})
    found = inverting.measure(
        policy, venue, 250, 0, lambda done, steps_: steps.append((done, steps_))
    )
    first = inverting.FIRST_REQUESTS * (len(inverting.WEIGHTS) + 1)
    rounds = (250 - first) // (inverting.EPISODES * inverting.LADDER)
    assert found.num_episodes == first + rounds * inverting.EPISODES * inverting.LADDER <= 250
    assert found.episodes.sum() == found.num_episodes == steps[-1][0]
    assert found.num_steps == steps[-1][1] > 3 * found.num_episodes  # an episode has 3 or more
    assert np.isfinite(found.achieved).all() and (found.deviation > 0).all()
    again = inverting.measure(policy, venue, 250, 0)
    np.testing.assert_array_equal(again.inputs.requests, found.inputs.requests)
    np.testing.assert_allclose(again.achieved, found.achieved)
    with pytest.raises(ValueError, match="budget is 20 episodes"):
        inverting.measure(policy, venue, 20, 0)


def test_inputs_are_the_data_s_returns_by_every_weight_and_not_asking_once() -> None:
    data = make_policy().spec.dataset
    requests, guidance = inverting.candidates(data)
    assert len(requests) == inverting.CANDIDATES * len(inverting.WEIGHTS) + 1
    assert requests.min() == data.percentile(0) and requests.max() == data.percentile(100)
    assert (guidance[:, 0] == 0).sum() == 1
