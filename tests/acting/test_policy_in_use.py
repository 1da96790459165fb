"""A policy is asked anew, acts in one environment, is copied and says what it is."""

from __future__ import annotations

import copy
import multiprocessing
import operator
import pickle

import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces
from tiny import make_config, make_dataset
from toy import toy_dataset

from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.request_map import RequestMap
from dt.data import EpisodeDataset, TrainingData, Transforms
from dt.model.decision_transformer import DecisionTransformer
from dt.spec.spec import PolicySpec

SEEN = np.random.default_rng(0).normal(size=(8, 2, 3)).astype(np.float32)


def make_policy(
    dataset: EpisodeDataset,
    request_map: RequestMap | None = None,
    transforms: Transforms | None = None,
    prefix: str = "none",
    **options: bool,
) -> ReturnConditionedPolicy:
    data = TrainingData.of(dataset, transforms or Transforms())
    spec = PolicySpec.of(data, make_config(prefix=prefix).model, max_episode_steps=40)
    params = nnx.state(DecisionTransformer(spec, rngs=nnx.Rngs(3)))
    return ReturnConditionedPolicy(params, spec, ActingOptions(**options), request_map)


@pytest.mark.parametrize("recompute", [False, True])
def test_asked_anew_is_as_if_the_last_reward_had_made_up_the_difference(
    tiny_dataset: EpisodeDataset, recompute: bool
) -> None:
    asked = make_policy(tiny_dataset, recompute=recompute)
    by_hand, never = asked.another(), asked.another()
    acted: dict[str, list[np.ndarray]] = {"asked": [], "by_hand": [], "never": []}
    for policy in (asked, by_hand, never):
        policy.reset([2.0, 3.0])
    for t in range(8):
        for name, policy in (("asked", asked), ("by_hand", by_hand), ("never", never)):
            acted[name].append(policy.act(SEEN[t]))
            reward = np.array([0.25, 0.5])
            if t == 3 and name == "by_hand":
                left = policy.returns_to_go - reward
                reward = reward - (np.array([0.5, 1.5]) - left) * np.array([True, False])
            policy.observe(reward)
            if t == 3 and name == "asked":
                policy.ask([0.5, 9.0], where=np.array([True, False]))
    np.testing.assert_array_equal(acted["asked"], acted["by_hand"])
    np.testing.assert_array_equal(asked.returns_to_go, by_hand.returns_to_go)
    told = np.array(acted["asked"]) != np.array(acted["never"])
    assert not told[:4].any() and not told[:, 1].any() and told[4:, 0].any()
    np.testing.assert_allclose(asked.returns_to_go, [0.5 - 0.75, 3.0 - 3.5])


def test_the_new_target_is_of_the_next_action_and_later_rewards_count(
    tiny_dataset: EpisodeDataset,
) -> None:
    """Before the first action it is what the episode begins with; discounted as the data is."""
    policy = make_policy(tiny_dataset, transforms=Transforms(discount=0.5))
    policy.reset([2.0, 3.0])
    policy.ask([1.0, 4.0])
    fresh = policy.another()
    fresh.reset([1.0, 4.0], seeds=[0, 1])
    np.testing.assert_array_equal(policy.act(SEEN[0]), fresh.act(SEEN[0]))
    policy.observe(np.array([7.0, 0.1]))
    policy.ask([1.5, 2.5])
    policy.act(SEEN[1])
    np.testing.assert_allclose(policy.returns_to_go, [1.5, 2.5], rtol=1e-6)
    policy.ask([3.0, 3.0])
    policy.observe(np.array([1.0, 0.5]))
    policy.act(SEEN[2])
    np.testing.assert_allclose(policy.returns_to_go, [3 - 1 / 0.5, 3 - 0.5 / 0.5], rtol=1e-6)


def test_targets_that_are_asked_anew_go_by_the_request_map(tiny_dataset: EpisodeDataset) -> None:
    request_map = RequestMap(np.array([0.0, 4.0]), np.array([0.0, 2.0]), 0, {}, "", {}, measured={})
    policy = make_policy(tiny_dataset, request_map, calibrated=True)
    policy.reset([1.0])
    policy.act(SEEN[0, :1])
    policy.ask([0.5])
    policy.act(SEEN[1, :1])
    np.testing.assert_allclose(policy.returns_to_go, [1.0])


def test_asking_wrongly_is_one_line(tiny_dataset: EpisodeDataset) -> None:
    policy = make_policy(tiny_dataset)
    with pytest.raises(ValueError, match=r"ask\(\) before reset"):
        policy.ask([1.0])
    policy.reset([1.0, 2.0])
    for targets in (1.0, [1.0], [1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match="targets have shape .* each row that was reset, 2"):
            policy.ask(targets)
    with pytest.raises(ValueError, match="finite"):
        policy.ask([1.0, float("nan")])
    with pytest.raises(ValueError, match="give one Boolean for each of 2 rows"):
        policy.ask([1.0, 2.0], where=np.array([True]))


SPACES = {
    "box": spaces.Box(-1, 1, (3,)),
    "number": spaces.Discrete(4, start=1),
    "dict": spaces.Dict(arm=spaces.Box(-1, 1, (2,)), mode=spaces.Discrete(3)),
}


@pytest.mark.parametrize("kind", SPACES)
def test_one_environment_acts_as_a_batch_of_one(kind: str) -> None:
    action_space = spaces.Tuple((spaces.Discrete(3), spaces.Box(-1, 1, (2,))))
    single = make_policy(toy_dataset(SPACES[kind], action_space))
    batch = single.another()
    single.reset(2.0, seeds=5)
    batch.reset([2.0], seeds=[5])
    SPACES[kind].seed(0)
    for t in range(4):
        seen = SPACES[kind].sample()
        rows = (
            {name: np.asarray(part)[None] for name, part in seen.items()} if kind == "dict" else 0
        )
        choice, number = single.act(seen)
        choices, numbers = batch.act(rows or np.asarray(seen)[None])
        assert action_space.contains((choice, number)) and np.shape(choice) == ()
        assert choice == choices[0] and np.array_equal(number, numbers[0])
        taken = action_space.sample() if t == 1 else None
        single.observe(0.5, taken)
        rows = None if taken is None else tuple(np.asarray(part)[None] for part in taken)
        batch.observe(np.array([0.5]), rows)
        if t == 2:
            single.ask(1.0)
            batch.ask([1.0])
        assert single.returns_to_go.shape == () and single.returns_to_go == batch.returns_to_go[0]


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["goal", "prompt"])
def test_one_environment_has_one_goal_and_one_prompt(
    tiny_dataset: EpisodeDataset, prefix: str
) -> None:
    single = make_policy(tiny_dataset, prefix=prefix)
    batch = single.another()
    goal, prompt = np.full(3, 5.0, np.float32), tiny_dataset[2]
    single.reset(2.0, **{f"{prefix}s": goal if prefix == "goal" else prompt})  # type: ignore[arg-type]
    batch.reset([2.0], **{f"{prefix}s": goal[None] if prefix == "goal" else [prompt]})  # type: ignore[arg-type]
    np.testing.assert_array_equal(single.act(SEEN[0, 0]), batch.act(SEEN[0, :1])[0])


def test_what_is_no_number_is_never_acted_on(tiny_dataset: EpisodeDataset) -> None:
    policy = make_policy(tiny_dataset)
    policy.reset([1.0, 2.0])
    observations = np.zeros((2, 3), np.float32)
    policy.act(observations)
    with pytest.raises(ValueError, match="rewards are not finite: row 1 has inf"):
        policy.observe([0.0, np.inf])
    observations[1, 2] = np.nan
    with pytest.raises(ValueError, match="observations are not finite: number 2 of row 1 is nan"):
        policy.act(observations)


def test_mixing_one_environment_and_a_batch_is_one_line(tiny_dataset: EpisodeDataset) -> None:
    policy = make_policy(tiny_dataset)
    with pytest.raises(ValueError, match="where chooses among rows"):
        policy.reset(1.0, where=np.array([True]))
    with pytest.raises(ValueError, match="finite"):
        policy.reset(float("nan"))
    with pytest.raises(ValueError, match="seeds are"):
        policy.reset(1.0, seeds=[1])
    policy.reset(1.0)
    with pytest.raises(ValueError, match=r"shape \(1, 3\); give \(3,\), without a batch axis"):
        policy.act(SEEN[0, :1])
    for numbers in ([1.0], np.zeros(2)):
        with pytest.raises(ValueError, match="rewards have shape .*; give one number"):
            policy.observe(numbers)
        with pytest.raises(ValueError, match="targets have shape .*; give one number"):
            policy.ask(numbers)
    with pytest.raises(ValueError, match="leave it out"):
        policy.ask(1.0, where=np.array([True]))
    with pytest.raises(ValueError, match="reset all rows first"):
        policy.reset([1.0, 2.0], where=np.array([True, False]))
    policy.act(SEEN[0, 0])
    policy.reset([1.0])
    with pytest.raises(ValueError, match=r"reset for \(1, 3\) \(reset it with one number"):
        policy.act(SEEN[0, 0])
    with pytest.raises(ValueError, match="rewards have shape"):
        policy.observe(1.0)
    policy.act(SEEN[0, :1])
    records = make_policy(toy_dataset(SPACES["dict"], spaces.Discrete(2)))
    records.reset([1.0])
    with pytest.raises(ValueError, match="no batch axis"):
        records.act({"mode": 1, "arm": 0.5})


def episode(policy: ReturnConditionedPolicy, first: int = 0) -> list[np.ndarray]:
    acted = []
    for t in range(first, 8):
        acted.append(policy.act(SEEN[t]))
        policy.observe(np.array([0.25, 0.5]))
    return acted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "recompute"),
    [
        ("copy", False),
        ("deepcopy", False),
        ("pickle", True),
        *(
            pytest.param(how, how != "pickle", marks=pytest.mark.thorough)
            for how in ("copy", "deepcopy", "pickle")
        ),
    ],
)
def test_a_copy_goes_on_with_the_episode_and_neither_touches_the_other(
    tiny_discrete: EpisodeDataset, how: str, recompute: bool
) -> None:
    copies = {
        "copy": copy.copy,
        "deepcopy": copy.deepcopy,
        "pickle": lambda policy: pickle.loads(pickle.dumps(policy)),
    }
    policy = make_policy(tiny_discrete, recompute=recompute)
    policy.reset([2.0, 3.0])
    whole = episode(policy)
    policy.reset([2.0, 3.0], seeds=[0, 1])
    for t in range(3):
        policy.act(SEEN[t])
        policy.observe(np.array([0.25, 0.5]))
    branch = copies[how](policy)
    branch.ask([0.0, 0.0])
    for t in range(3, 5):
        branch.act(SEEN[t + 1])
        branch.observe(np.array([9.0, 9.0]))
    again = copies[how](policy)
    np.testing.assert_array_equal(episode(policy, 3), whole[3:])
    np.testing.assert_array_equal(episode(again, 3), whole[3:])
    fresh = copies[how](branch)
    fresh.reset([2.0, 3.0], seeds=[0, 1])
    np.testing.assert_array_equal(episode(fresh), whole)
    assert policy._step._cache_size() == 1  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_policy_goes_to_another_process(tiny_dataset: EpisodeDataset) -> None:
    policy = make_policy(tiny_dataset)
    policy.reset([2.0, 3.0], seeds=[4, 5])
    with multiprocessing.get_context("spawn").Pool(2) as pool:  # before and within an episode
        first = pool.apply_async(operator.methodcaller("act", SEEN[0]), (policy,))
        for t in range(3):
            here = policy.act(SEEN[t])
            policy.observe(np.array([0.25, 0.5]))
            if t == 0:
                np.testing.assert_array_equal(first.get(), here)
        policy.ask([1.0, 0.5])
        there = pool.apply(operator.methodcaller("act", SEEN[3]), (policy,))
    np.testing.assert_array_equal(there, policy.act(SEEN[3]))


def test_a_policy_says_what_it_is(tiny_dataset: EpisodeDataset) -> None:
    said = repr(make_policy(tiny_dataset, deterministic=True))
    low, high = np.percentile(tiny_dataset.returns, [5, 95])
    for part in (
        "no environment",
        "Box((3,), float32)",
        "Box((2,), float32)",
        "return-observation-action, 2,210 parameters, context of 3 steps",
        f"from {low:.6g} to {high:.6g} (p5 to p95",
        "acts          deterministic, from a ring cache, up to timestep 39>",
    ):
        assert part in said, said
    other = make_policy(make_dataset([5], spaces.Discrete(3)), recompute=True, clip=False)
    assert "sampled, returns not clipped, from a window recomputed" in repr(other)
    assert "Discrete(3)" in repr(other)
    clamped = ActingOptions(past_end="clamp")
    assert "past 39 as at 39>" in repr(ReturnConditionedPolicy(other.params, other.spec, clamped))
