"""Does a request map find what brings the wanted return, and refuse what it was not made for?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from flax import nnx
from tiny import make_config

import dt
from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.request_map import REQUEST_MAP, RequestMap
from dt.checkpoint.load import load_request_map
from dt.checkpoint.save import Checkpointer
from dt.data import EpisodeDataset, TrainingData
from dt.evaluation.evaluate import evaluate_policy
from dt.files import write_json
from dt.model.decision_transformer import DecisionTransformer
from dt.spec.spec import PolicySpec
from dt.training.step import Learner


def fitted(requests: list[float], means: list[float], checkpoint_step: int = 7) -> RequestMap:
    return RequestMap.fit(
        np.array(requests, np.float64),
        np.array(means, np.float64),
        checkpoint_step=checkpoint_step,
        options=ActingOptions(),
        env_id="Planted-v0",
        env_kwargs={},
        measured={"episodes": 4, "seed": 1, "versions": {}, "command": "", "commit": None},
    )


def ask(request_map: RequestMap, *wanted: float) -> list[float]:
    return request_map.request_for(np.array(wanted)).tolist()


def test_a_policy_that_brings_half_is_asked_for_the_double() -> None:
    request_map = fitted([0.0, 50.0, 100.0], [0.0, 25.0, 50.0])
    assert ask(request_map, 10.0, 25.0, 40.0) == pytest.approx([20.0, 50.0, 80.0])


def test_asking_for_what_the_map_says_brings_what_was_wanted() -> None:
    rng = np.random.default_rng(0)
    requests = np.sort(rng.uniform(0, 100, 9))
    request_map = fitted(requests.tolist(), np.cumsum(rng.uniform(0.1, 9, 9)).tolist())
    wanted = np.linspace(request_map.achieved[0], request_map.achieved[-1], 50)
    back = np.interp(request_map.request_for(wanted), requests, request_map.achieved)
    np.testing.assert_allclose(back, wanted)


def test_means_that_fall_are_pooled() -> None:
    """The middle three have no order that rises: they share their mean."""
    request_map = fitted([1, 2, 3, 4, 5], [10.0, 30.0, 20.0, 22.0, 40.0])
    np.testing.assert_allclose(request_map.achieved, [10.0, 24.0, 24.0, 24.0, 40.0])
    means = np.random.default_rng(1).normal(np.arange(12.0), 3.0)
    by_least_squares = scipy.optimize.lsq_linear(
        np.tril(np.ones((12, 12))),
        means,
        (
            [-np.inf] + [0.0] * 11,
            np.inf,
        ),
    ).x.cumsum()
    many = fitted(list(range(12)), means.tolist())
    np.testing.assert_allclose(many.achieved, by_least_squares, atol=1e-6)


def test_of_requests_that_bring_the_same_the_nearest_is_taken() -> None:
    request_map = fitted([0, 10, 20, 30, 40, 50], [5.0, 5.0, 5.0, 25.0, 40.0, 40.0])
    assert ask(request_map, 5.0) == [5.0]  # 0 to 20 all bring 5
    assert ask(request_map, 15.0) == [25.0]
    assert ask(request_map, 40.0) == [40.0]
    # Out of reach: as far as it goes, and no further.
    assert ask(request_map, -9.0, 3.0, 44.0, 99.0) == [0.0, 3.0, 44.0, 50.0]
    reaches = request_map.reaches(np.array([-9.0, 3.0, 4.9, 5.0, 40.0, 40.3, 44.0]))
    assert reaches.tolist() == [False, False, True, True, True, True, False]


def test_an_agent_that_ignores_its_request_is_asked_as_before() -> None:
    assert ask(fitted([0, 100], [30.0, 20.0]), 40.0, 150.0) == [40.0, 100.0]


@pytest.mark.parametrize("requests", [[1.0], [2.0, 2.0]])
def test_a_map_needs_two_requests(requests: list[float]) -> None:
    with pytest.raises(ValueError, match="two or more different requests"):
        fitted(requests, requests)


def test_a_map_comes_back_from_its_file(tmp_path: Path) -> None:
    request_map = fitted([0.0, 50.0, 100.0], [0.0, 30.0, 20.0])
    write_json(tmp_path / REQUEST_MAP, request_map.to_json())
    again = load_request_map(tmp_path)
    assert again.to_json() == request_map.to_json()
    assert again.measured["means"] == [0.0, 30.0, 20.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; fit it with dt evaluate --fit-request-map"),
        ("{", "is no JSON"),
        ("[]", "does not read as a request map"),
        ('{"format": 9}', "has format 9"),
        ('{"format": 2}', "request_map.json: requests: required field missing"),
    ],
)
def test_a_file_that_is_no_map_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / REQUEST_MAP).write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_request_map(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_damaged_map_is_not_followed(tmp_path: Path) -> None:
    values = fitted([0.0, 100.0], [0.0, 50.0]).to_json()
    write_json(tmp_path / REQUEST_MAP, {**values, "achieved": [50.0, 0.0]})
    with pytest.raises(ValueError, match="must not fall"):
        load_request_map(tmp_path)


def make_policy(
    dataset: EpisodeDataset, request_map: RequestMap | None = None, **options: Any
) -> ReturnConditionedPolicy:
    spec = PolicySpec.of(TrainingData.of(dataset), make_config().model, max_episode_steps=40)
    params = nnx.state(DecisionTransformer(spec, rngs=nnx.Rngs(3)))
    chosen = ActingOptions(calibrated=request_map is not None, **options)
    return ReturnConditionedPolicy(params, spec, chosen, request_map)


def act(policy: ReturnConditionedPolicy, *targets: float) -> np.ndarray:
    policy.reset(list(targets))
    return policy.act(np.ones((len(targets), 3), np.float32))


def test_a_calibrated_policy_acts_as_one_that_was_asked_for_the_request(
    tiny_dataset: EpisodeDataset,
) -> None:
    calibrated = make_policy(tiny_dataset, request_map=fitted([0.0, 4.0], [1.0, 3.0]))
    plain = make_policy(tiny_dataset)
    np.testing.assert_array_equal(act(calibrated, 2.5, 1.0), act(plain, 3.0, 0.0))
    assert (act(calibrated, 2.5, 1.0) != act(plain, 2.5, 1.0)).all()


@pytest.mark.slow
def test_only_an_unclipped_policy_sees_returns_beyond_the_data(
    tiny_dataset: EpisodeDataset,
) -> None:
    plain, unclipped = make_policy(tiny_dataset), make_policy(tiny_dataset, clip=False)
    low, high = plain.spec.return_range
    np.testing.assert_array_equal(act(plain, high), act(plain, 2 * high))
    assert (act(unclipped, high) != act(unclipped, 2 * high)).all()
    # Within the data both are the same policy, and below it there is nothing to ask for.
    np.testing.assert_array_equal(act(plain, low, 1.0, high), act(unclipped, low, 1.0, high))
    np.testing.assert_array_equal(act(unclipped, low - 9.0), act(unclipped, low))


@pytest.mark.slow
def test_load_policy_takes_the_run_s_map_and_only_for_its_own_checkpoint(
    tmp_path: Path, tiny_spec: PolicySpec
) -> None:
    learner = Learner(tiny_spec, make_config(num_layers=1))
    checkpointer = Checkpointer(tmp_path, tiny_spec, keep=9)
    checkpointer.save(learner.init())
    checkpointer.wait()
    with pytest.raises(ValueError, match="no such file; fit it"):
        dt.load_policy(tmp_path, calibrated=True)
    mapped = fitted([0.0, 4.0], [1.0, 3.0], checkpoint_step=0)
    write_json(tmp_path / REQUEST_MAP, mapped.to_json())
    plain, calibrated = (dt.load_policy(tmp_path, calibrated=c) for c in (False, True))
    np.testing.assert_array_equal(act(calibrated, 2.5), act(plain, 3.0))
    others: list[dict[str, Any]] = [
        {"deterministic": True},
        {"recompute": True},
        {"temperature": 0.5},
        {"top_p": 0.9},
    ]
    for other in others:
        (name,) = other
        with pytest.raises(ValueError, match=f"whose {name}.* is (False|1.0), this one's is"):
            dt.load_policy(tmp_path, calibrated=True, **other)
    stale = {**json.loads((tmp_path / REQUEST_MAP).read_text()), "checkpoint_step": 9}
    write_json(tmp_path / REQUEST_MAP, stale)
    with pytest.raises(ValueError, match="whose checkpoint_step is 9, this one's is 0"):
        dt.load_policy(tmp_path, calibrated=True)


def test_a_map_of_another_environment_is_refused(tiny_dataset: EpisodeDataset) -> None:
    policy = make_policy(tiny_dataset, request_map=fitted([0.0, 4.0], [1.0, 3.0]))
    others: list[tuple[str, dict[str, Any]]] = [("Other-v0", {}), ("Planted-v0", {"limit": 3})]
    for env_id, env_kwargs in others:
        facts: dict[str, Any] = {"env_id": env_id, "env_kwargs": env_kwargs}
        with pytest.raises(ValueError, match=f"fitted in Planted-v0, not in {env_id}"):
            evaluate_policy(policy, [1.0], 1, seed=0, checkpoint_step=7, **facts)
