"""Is what stands before an episode the right thing, seen by all of it, and the same in acting?"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces
from tiny import make_config, make_dataset

from dt.acting.exemplars import nearest_exemplars
from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.config import ModelConfig, TrainConfig
from dt.data import Batch, EpisodeDataset, TrainingData, Windows, draw_windows, gather
from dt.data.batches.prefixes import draw_prefixes, rank_by_return
from dt.model.decision_transformer import DecisionTransformer
from dt.parallel.mesh import make_mesh
from dt.spec.exemplars import NUM_EXEMPLARS
from dt.spec.serialize import spec_from_json, spec_to_json
from dt.spec.spec import PolicySpec
from dt.training.feed import Feed
from dt.training.hooks import Hooks
from dt.training.loop import train
from dt.training.run_directory import write_config
from dt.training.step import Learner

PREFIXES: dict[str, dict[str, Any]] = {
    "goal": {"prefix": "goal"},
    "prompt": {"prefix": "prompt", "prompt_length": 4},
    "learned": {"learned_prefix": 3},
    "both": {"prefix": "prompt", "prompt_length": 2, "learned_prefix": 2, "layout": "fused"},
    "adaptive": {"prefix": "goal", "conditioning": "adaln"},
}


def episode_of(offsets: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.searchsorted(offsets, starts, side="right") - 1


def test_a_goal_is_where_the_window_s_own_episode_ends() -> None:
    offsets, rows = np.array([0, 7, 9, 20]), range(64)
    windows = draw_windows(offsets, 4, 0, 5, rows)
    ranks = rank_by_return(np.array([3.0, 1.0, 2.0]))
    goals = draw_prefixes(windows, offsets, ranks, "goal", 4, 0, 5, rows)
    ends = offsets[episode_of(offsets, windows.start) + 1]
    np.testing.assert_array_equal(goals.start, ends - 1)
    assert (goals.length == 1).all()
    np.testing.assert_array_equal(
        goals.start - goals.timestep, offsets[episode_of(offsets, windows.start)]
    )


def test_a_prompt_is_of_another_episode_that_went_about_as_well() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 30, 200)
    offsets, returns = np.concatenate([[0], np.cumsum(lengths)]), rng.normal(size=200)
    ranks, rows = rank_by_return(returns), range(4096)
    windows = draw_windows(offsets, 8, 3, 11, rows)
    prompts = draw_prefixes(windows, offsets, ranks, "prompt", 5, 3, 11, rows)
    own, shown = (episode_of(offsets, w.start) for w in (windows, prompts))
    away = ranks[1][shown] - ranks[1][own]
    assert set(np.abs(away)) == {1, 2, 3, 4}  # of 200 episodes a fiftieth each way
    assert abs(away.mean()) < 0.2
    assert (prompts.start + prompts.length <= offsets[shown + 1]).all()
    np.testing.assert_array_equal(prompts.length, np.minimum(lengths[shown], 5))
    # All of an episode's places come up, and a process that has some rows draws the same.
    assert set(prompts.timestep[lengths[shown] == 29]) == set(range(25))
    some = range(100, 164)
    part = draw_prefixes(
        draw_windows(offsets, 8, 3, 11, some), offsets, ranks, "prompt", 5, 3, 11, some
    )
    np.testing.assert_array_equal(part.start, prompts.start[100:164])
    other = draw_prefixes(windows, offsets, ranks, "prompt", 5, 4, 11, rows)
    assert (other.start != prompts.start).mean() > 0.5


def test_the_only_episode_is_its_own_prompt() -> None:
    offsets, rows = np.array([0, 6]), range(8)
    windows = draw_windows(offsets, 3, 0, 0, rows)
    prompts = draw_prefixes(windows, offsets, rank_by_return(np.zeros(1)), "prompt", 2, 0, 0, rows)
    assert ((prompts.start >= 0) & (prompts.start + prompts.length <= 6)).all()


def build(name: str, **model: Any) -> tuple[EpisodeDataset, PolicySpec, Any]:
    dataset = make_dataset([7, 3, 11, 5])
    config = make_config(**{"context_length": 3, "dropout": 0.0, **PREFIXES[name], **model})
    spec = PolicySpec.of(TrainingData.of(dataset), config.model, max_episode_steps=40)
    params = Learner(spec, config).init().params
    rng = np.random.default_rng(0)  # so that what starts as zero matters too
    params = jax.tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape).astype(p.dtype), params)
    return dataset, spec, params


def whole_episode(dataset: EpisodeDataset, spec: PolicySpec, shown: Batch | None) -> Batch:
    """The third episode as one segment, with its prefix."""
    windows = Windows(*(np.array([v]) for v in (dataset.offsets[2], 11, 0)))
    batch = gather(spec.codec.encode(TrainingData.of(dataset).rows), windows, 11)
    return jax.tree.map(jnp.asarray, batch._replace(prefix=shown))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "recompute"),
    [
        *((name, False) for name in PREFIXES),
        *((name, True) for name in ("both", "adaptive")),
        *(
            pytest.param(name, True, marks=pytest.mark.thorough)
            for name in ("goal", "prompt", "learned")
        ),
    ],
)
def test_acting_computes_what_training_saw(name: str, recompute: bool) -> None:
    """Past the window too; the second row starts later, over what an earlier episode left."""
    dataset, spec, params = build(name, context_length=11 if recompute else 3)
    policy = ReturnConditionedPolicy(
        params, spec, ActingOptions(deterministic=True, recompute=recompute)
    )
    target, late = float(dataset.returns[2]), 4
    shown = nearest_exemplars(spec, np.array([target])) if spec.prefix_steps else None
    graph, _ = nnx.split(nnx.eval_shape(lambda: DecisionTransformer(spec, rngs=nnx.Rngs(0))))
    batch = whole_episode(dataset, spec, shown)
    forward = jax.jit(lambda p, b: nnx.merge(graph, p)(b))
    numbers = np.asarray(forward(params, batch).numbers[0])
    wanted = spec.action_normalizer.invert(numbers)

    episode = dataset[2]
    policy.reset([target, float(dataset.returns[1])])
    for t in range(11 + late):
        clocks = np.array([min(t, 10), t if t < late else t - late])
        if t == late:
            policy.reset([target] * 2, where=np.array([False, True]))
        acted = policy.act(episode.observations[clocks])
        if t < 11:
            np.testing.assert_allclose(acted[0], wanted[t], atol=1e-5)
        if t >= late:
            np.testing.assert_allclose(acted[1], wanted[t - late], atol=1e-5)
        policy.observe(episode.rewards[clocks], episode.actions[clocks])
    assert policy._step._cache_size() == 1  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["goal", "prompt"])
def test_all_of_an_episode_sees_what_stands_before_it(name: str) -> None:
    dataset, spec, params = build(name, num_layers=1)  # else it might come through other tokens
    graph, _ = nnx.split(nnx.eval_shape(lambda: DecisionTransformer(spec, rngs=nnx.Rngs(0))))
    shown = jax.tree.map(lambda x: x[1:2], spec.exemplar_batch[1])

    @jax.jit
    def sensitivity(numbers: jax.Array, t: jax.Array) -> jax.Array:
        def output(numbers: jax.Array) -> jax.Array:
            seen = shown.observations._replace(numbers=numbers)
            batch = whole_episode(dataset, spec, shown._replace(observations=seen))
            return jnp.square(nnx.merge(graph, params)(batch).numbers[0, t]).sum()

        return jax.grad(output)(numbers)

    for t in (0, 5, 10):
        gradient = np.abs(np.asarray(sensitivity(shown.observations.numbers, jnp.int32(t))))
        seen = gradient[0].sum(axis=-1) > 0
        np.testing.assert_array_equal(seen, shown.mask[0])  # padding of a prompt is never seen


def goals_decide(num_episodes: int = 200) -> EpisodeDataset:
    """Episodes of noise whose every action is the sign of where they end."""
    rng = np.random.default_rng(0)
    steps = 4
    observations = rng.normal(size=(num_episodes, steps, 2)).astype(np.float32)
    bits = (observations[:, -1, 0] > 0).astype(np.int64)
    ends = np.arange(steps) == steps - 1
    return EpisodeDataset(
        name="goals",
        observations=observations.reshape(-1, 2),
        actions=np.repeat(bits, steps),
        rewards=np.repeat(bits, steps).astype(np.float32),
        terminations=np.tile(ends, num_episodes),
        truncations=np.zeros(num_episodes * steps, bool),
        offsets=np.arange(num_episodes + 1) * steps,
        observation_space=spaces.Box(-np.inf, np.inf, (2,), np.float32),
        action_space=spaces.Discrete(2),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["goal", "prompt"])
def test_batches_are_the_same_wherever_the_data_lies(name: str) -> None:
    data, config = TrainingData.of(goals_decide()), goal_config(name, "device")
    spec, mesh = PolicySpec.of(data, config.model), make_mesh(jax.devices()[:1])
    feed = Feed(data, spec, config, mesh)
    windows = jax.tree.map(lambda x: x[1], feed.round(4, 6))
    on_device = gather(feed.steps, windows, feed.num_steps, spec.prefix_steps)
    feed = Feed(data, spec, goal_config(name, "host"), mesh)
    read = jax.tree.map(lambda x: x[1], feed.round(4, 6))
    feed.close()
    assert read.prefix is not None
    for one, other in zip(jax.tree.leaves(on_device), jax.tree.leaves(read), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["goal", pytest.param("prompt", marks=pytest.mark.thorough)])
def test_with_the_weights_held_fixed_the_prefix_decides(tmp_path: Path, name: str) -> None:
    """Without a return in the sequence."""
    dataset = goals_decide()
    data, config = TrainingData.of(dataset), goal_config(name, "device")
    spec = PolicySpec.of(data, config.model)
    write_config(tmp_path, "tiny", config)
    state = train(spec, data, config, tmp_path, hooks=Hooks(on_message=pytest.fail))
    policy = ReturnConditionedPolicy(state.params, spec, ActingOptions(deterministic=True))
    noise = np.random.default_rng(1).normal(size=(8, 2)).astype(np.float32)
    wanted = np.arange(8) % 2
    if name == "goal":
        policy.reset([0.0] * 8, goals=np.where(wanted[:, None] > 0, 1.5, -1.5) * np.ones((8, 2)))
    else:
        bits = dataset.actions[dataset.offsets[:-1]]
        each = [int(np.flatnonzero(bits == bit)[i]) for i, bit in enumerate(wanted)]
        policy.reset([0.0] * 8, prompts=[dataset[i] for i in each])
    np.testing.assert_array_equal(policy.act(noise), wanted)
    # By default the data's own example of a return is followed.
    policy.reset(wanted * 4.0)
    np.testing.assert_array_equal(policy.act(noise), wanted)


def goal_config(name: str, placement: Any) -> TrainConfig:
    sizes = {"num_layers": 1, "width": 16, "context_length": 2}
    config = make_config(layout="observation-action", **sizes, **PREFIXES[name])
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, batch_size=32, placement=placement),
        num_steps=120,
        log_interval=20,
        checkpoint_interval=120,
    )


def test_a_spec_keeps_its_examples() -> None:
    dataset = make_dataset([4] * 50)
    model = ModelConfig(prefix="prompt", prompt_length=3)
    spec = PolicySpec.of(TrainingData.of(dataset), model)
    again = spec_from_json(spec_to_json(spec))
    assert spec.exemplars is not None and len(spec.exemplars.returns) == NUM_EXEMPLARS
    assert (np.diff(spec.exemplars.returns) >= 0).all()
    assert spec.exemplars.returns[[0, -1]].tolist() == [
        dataset.returns.min(),
        dataset.returns.max(),
    ]
    for one, other in zip(*(jax.tree.leaves(s.exemplar_batch) for s in (spec, again)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        (
            "learned",
            {"goals": np.zeros((2, 3))},
            "goals are given, but this model has prefix 'none'",
        ),
        ("goal", {"prompts": []}, "train one with --model.prefix prompt"),
        ("goal", {"goals": np.zeros((3, 3))}, "3 goals are given for 2 rows"),
    ],
)
def test_what_the_model_has_no_place_for_is_refused(
    name: str, given: dict[str, Any], said: str
) -> None:
    _, spec, params = build(name)
    with pytest.raises(ValueError, match=said):
        ReturnConditionedPolicy(params, spec).reset([1.0, 2.0], **given)
