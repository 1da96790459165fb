"""Is recipe chen2021 what its paper's code is, and does it act on its window as it was trained?"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces
from tiny import make_config, make_dataset

from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.cli.train import parse_train_args
from dt.config import DataConfig, ModelConfig, OptimizerConfig, RecipeName, TrainConfig
from dt.config.presets import PRESETS, RECIPES, with_recipe
from dt.data import Batch, EpisodeDataset, TrainingData, Windows, gather
from dt.data.batches.windows import Action
from dt.files import structured
from dt.model.decision_transformer import DecisionTransformer, abstract_model
from dt.model.heads.action import Prediction
from dt.model.layers import LayerNorm
from dt.model.recipe import recipe_of
from dt.model.recomputed_window import Moment, RecomputedWindow
from dt.spec.spec import PolicySpec
from dt.training.optimizer import make_optimizer, make_schedule
from dt.training.step import Learner

ACTIONS = {"continuous": None, "discrete": spaces.Discrete(3, start=1)}


def reference(recipe: str = "chen2021", **model: object) -> TrainConfig:
    return with_recipe(make_config(num_heads=1, **model), recipe)


def build(
    actions: str = "continuous", recipe: str = "chen2021", **model: object
) -> tuple[EpisodeDataset, PolicySpec]:
    dataset = make_dataset([5, 12], ACTIONS[actions])
    config = reference(recipe, **model)
    return dataset, PolicySpec.of(TrainingData.of(dataset), config.model, max_episode_steps=40)


def fresh(spec: PolicySpec) -> Any:
    """Initial weights; op by op, as all models' together are few small programs."""
    return nnx.state(DecisionTransformer(spec, rngs=nnx.Rngs(0)))


def predict(
    spec: PolicySpec, params: Any, batch: Batch, rngs: nnx.Rngs | None = None
) -> Prediction:
    graph, _ = nnx.split(abstract_model(spec))
    return nnx.merge(graph, params)(batch, rngs=rngs)


def window_of(
    dataset: EpisodeDataset, spec: PolicySpec, begin: int, count: int, padded: int = 0
) -> Batch:
    """Steps `begin` to `begin + count` of the second episode, and padding."""
    windows = Windows(*(np.array([value]) for value in (5 + begin, count, begin)))
    steps = spec.codec.encode(TrainingData.of(dataset).rows)
    return jax.tree.map(jnp.asarray, gather(steps, windows, count + padded))


def test_the_flag_changes_model_data_and_optimiser_but_no_size_or_budget() -> None:
    _, config = parse_train_args(["hopper", "--data", "x", "--model.recipe", "chen2021"])
    preset = PRESETS["hopper"]
    assert config.model.recipe == "chen2021" and config.model.return_dropout == 0.0
    assert config.data.windows_per_segment == 1 and config.data.batch_size == 64
    assert config.optimizer == OptimizerConfig(
        learning_rate=1e-4, schedule="constant", warmup_fraction=0.1, decay="all"
    )
    sizes = ("width", "num_layers", "context_length", "max_timesteps")
    assert [getattr(config.model, n) for n in sizes] == [getattr(preset.model, n) for n in sizes]
    assert (config.num_steps, config.evaluation) == (preset.num_steps, preset.evaluation)


def test_flags_stand_above_the_recipe() -> None:
    words = "--model.recipe=chen2021 --optimizer.learning-rate 3e-4 --model.num-heads 2"
    _, config = parse_train_args(words.split())
    assert (config.optimizer.learning_rate, config.model.num_heads) == (3e-4, 2)
    assert config.optimizer.decay == "all"
    assert parse_train_args(["--model.recipe", "default"]) == parse_train_args([])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--model.recipe chen2020", "chen2020"),
        ("--model.recipe", "--model.recipe"),
        (
            "--model.recipe chen2021 --data.windows-per-segment 2",
            "data.windows_per_segment is 2; it must be 1 with recipe chen2021",
        ),
        (
            "--model.recipe chen2021 --model.return-dropout 0.1",
            "model.return_dropout is 0.1; it must be 0 with recipe chen2021",
        ),
        ("--optimizer.warmup-fraction 2", "optimizer.warmup_fraction is 2"),
    ],
)
def test_what_does_not_go_together_is_named(flags: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_train_args(flags.split())


def test_every_name_of_a_recipe_has_one() -> None:
    names = set(get_args(RecipeName))
    for name in names:
        recipe_of(ModelConfig(recipe=name, return_dropout=0.0))
    assert set(RECIPES) == names - {"default"}
    with pytest.raises(ValueError, match="model.recipe: "):
        structured(TrainConfig, {"model": {"recipe": "chen2012"}})


def test_the_default_recipe_is_what_it_was() -> None:
    assert (ModelConfig().recipe, OptimizerConfig().decay) == ("default", "matrices")
    assert OptimizerConfig().warmup_fraction == 0.0 and DataConfig().windows_per_segment == 2
    config = make_config()
    spec = PolicySpec.of(TrainingData.of(make_dataset([9])), config.model)
    embed = nnx.to_pure_dict(nnx.state(abstract_model(spec)))["embed"]
    assert set(embed) == {"observation", "action", "returns", "kind", "timestep", "norm"}
    assert set(embed["returns"]) == {"hidden", "out", "null"}
    assert set(embed["timestep"]) == {"out"}


@pytest.mark.slow
def test_its_parameters_are_those_of_the_paper_s_code() -> None:
    """Tables and linear maps alone, drawn as PyTorch and GPT-2 draw them."""
    _, spec = build(width=64, num_layers=3)
    params = nnx.to_pure_dict(fresh(spec))
    embed = params["embed"]
    assert set(embed) == {"observation", "action", "returns", "timestep", "norm"}
    assert set(embed["returns"]) == {"kernel", "bias"} and embed["returns"]["kernel"].shape[0] == 1
    table = embed["timestep"]["embedding"]
    assert table.shape == (40, 64) and float(table.std()) == pytest.approx(1.0, abs=0.05)
    for kernel, inputs in (
        (embed["observation"]["numbers"], 3),
        (params["head"]["numbers"]["out"], 64),
    ):
        for values in kernel.values():
            assert float(jnp.abs(values).max()) <= inputs**-0.5
        assert float(kernel["kernel"].std()) == pytest.approx((3 * inputs) ** -0.5, rel=0.2)
    block = params["transformer"]["blocks"][1]
    assert float(block["expand"]["kernel"].std()) == pytest.approx(0.02, rel=0.05)
    assert not block["expand"]["bias"].any() and not block["attention"]["out"]["bias"].any()


@pytest.mark.slow
def test_the_atari_recipe_is_the_paper_s_other_model() -> None:
    """A vector for each place of the window beside the timestep's, and no norm on the tokens."""
    _, config = parse_train_args(["atari-chen2021", "--data", "x"])
    model, optimizer = config.model, config.optimizer
    sizes = (model.num_layers, model.num_heads, model.width, model.context_length)
    assert sizes == (6, 8, 128, 30) and model.recipe == "atari-chen2021"
    assert (optimizer.learning_rate, optimizer.clip_norm) == (6e-4, 1.0)
    dataset, spec = build("discrete", "atari-chen2021", width=64, context_length=4)
    params = nnx.to_pure_dict(fresh(spec))
    embed = params["embed"]
    assert set(embed) == {"observation", "action", "returns", "timestep", "place"}
    assert embed["place"]["embedding"].shape == (4 * 3, 64)
    assert float(embed["timestep"]["embedding"].std()) == pytest.approx(0.02, rel=0.1)
    assert float(embed["returns"]["kernel"].std()) == pytest.approx(0.02, rel=0.5)

    # A window's tokens share the timestep at which it begins; what shifts all of it, wherever
    # its padding stands, is that alone.
    begin, graph = 3, nnx.split(abstract_model(spec))[0]
    batch = window_of(dataset, spec, begin, 3, padded=1)
    one: Any = nnx.merge(graph, fresh(spec)).embed
    table = one.timestep.embedding[...]
    placed = one._placed(batch._replace(mask=None))
    np.testing.assert_allclose(placed[0, 0, 0], table[begin] + one.place.embedding[0], atol=1e-6)
    np.testing.assert_allclose(placed[0, 2, 1], table[begin] + one.place.embedding[7], atol=1e-6)
    left = jax.tree.map(lambda x: jnp.roll(x, 1, axis=1), batch)
    np.testing.assert_allclose(one._placed(left)[:, 1:], placed[:, :3], atol=1e-6)


@pytest.mark.slow
def test_a_prediction_sees_the_whole_window_and_nothing_later() -> None:
    """One layer, and a segment longer than context_length: the band would end at three steps."""
    dataset, spec = build(num_layers=1, context_length=3)
    params, batch, t = fresh(spec), window_of(dataset, spec, 2, 9), 5

    @jax.jit
    def sensitivity(inputs: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        def output(inputs: tuple[Any, Any, Any]) -> jax.Array:
            replaced = batch._replace(
                observations=batch.observations._replace(numbers=inputs[0]),
                actions=batch.actions._replace(numbers=inputs[1]),
                returns_to_go=inputs[2],
            )
            return jnp.square(predict(spec, params, replaced).numbers[0, t]).sum()

        return jax.grad(output)(inputs)

    gradients = sensitivity(
        (batch.observations.numbers, batch.actions.numbers, batch.returns_to_go)
    )
    for gradient, last in zip(gradients, (t, t - 1, t), strict=True):
        seen = np.abs(np.asarray(gradient)).reshape(9, -1).sum(axis=1)
        assert (seen[: last + 1] > 0).all() and (seen[last + 1 :] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "actions", "context_length"),
    [
        ("chen2021", "continuous", 1),
        ("chen2021", "continuous", 4),
        ("chen2021", "discrete", 4),
        ("atari-chen2021", "discrete", 4),
    ],
)
def test_a_step_computes_the_last_window_anew(
    recipe: str, actions: str, context_length: int
) -> None:
    """Two rows; the second starts an episode four steps late, over what an earlier one left."""
    dataset, spec = build(actions, recipe, context_length=context_length)
    params = fresh(spec)
    policy = ReturnConditionedPolicy(params, spec, ActingOptions(deterministic=True))
    episode, late = dataset[1], 4
    forward = jax.jit(partial(predict, spec))
    wanted = []
    for t in range(12):
        count = min(t + 1, context_length)
        batch = window_of(dataset, spec, t + 1 - count, count, padded=context_length - count)
        last = jax.tree.map(lambda x, at=count - 1: np.asarray(x[:, at]), forward(params, batch))
        if actions == "discrete":
            action = Action(np.zeros((1, 0)), last.categories.argmax(axis=-1)[:, None])
        else:
            action = Action(last.numbers, np.zeros((1, 0), np.int32))
        wanted.append(spec.codec.decode_action(action)[0])
    policy.reset([float(dataset.returns[1])] * 2)
    for t in range(12 + late):
        clocks = np.array([min(t, 11), max(t - late, 0)])
        if t == late:
            policy.reset([float(dataset.returns[1])] * 2, where=np.array([False, True]))
        acted = policy.act(episode.observations[clocks])
        if t < 12:
            np.testing.assert_allclose(acted[0], wanted[t], atol=1e-5)
        if t >= late:
            np.testing.assert_allclose(acted[1], wanted[t - late], atol=1e-5)
        policy.observe(episode.rewards[clocks], episode.actions[clocks])
    assert policy._step._cache_size() == 1  # type: ignore[attr-defined]


@pytest.mark.slow
def test_what_was_not_finite_ends_with_its_episode() -> None:
    """Masked from attention it would still be multiplied, by zero, and stay NaN."""
    nan, new = (
        Moment(
            Action(*(jnp.full((2, 2), value, jnp.float32) for _ in range(2))),
            *(jnp.full(shape, value, jnp.float32) for shape in ((2, 3), 2, 2)),
        )
        for value in (jnp.nan, 1.0)
    )
    window = RecomputedWindow.empty(3, 3, new.previous_action)
    window = window.advanced(new, new.observation).advanced(nan, nan.observation)
    restarted = window.emptied(jnp.array([True, False])).advanced(
        new._replace(previous_action=nan.previous_action), new.observation
    )
    for values in jax.tree.leaves(restarted):
        assert np.isfinite(values[0]).all()
    assert restarted.mask.tolist() == [[False, False, True], [True, True, True]]
    assert np.isnan(restarted.observations[1]).any()


def test_there_is_no_null_token_to_ask_for() -> None:
    _, spec = build()
    params = nnx.state(abstract_model(spec))
    with pytest.raises(ValueError, match="recipe chen2021 has no null token"):
        ReturnConditionedPolicy(params, spec, ActingOptions(null=True))


@pytest.mark.slow
def test_attention_drops_weights_too_and_is_the_same_where_none_fall_out() -> None:
    dataset, spec = build(num_layers=1)
    params, batch = fresh(spec), window_of(dataset, spec, 0, 3)

    def dropping(dropout: float) -> Any:
        model = dataclasses.replace(spec.model, dropout=dropout)
        rare = dataclasses.replace(spec, model=model)
        return jax.jit(lambda p: predict(rare, p, batch, nnx.Rngs(dropout=1)).numbers)(params)

    plain = jax.jit(lambda p: predict(spec, p, batch).numbers)(params)
    # So rare that nothing falls out, but through the code that leaves weights out.
    np.testing.assert_allclose(dropping(1e-9), plain, atol=1e-6)
    assert np.abs(dropping(0.5) - plain).max() > 1e-3


def test_layer_norms_divide_as_the_paper_s_do() -> None:
    """A tenth of the default's epsilon changes no ordinary output enough to be seen."""
    for config, epsilon in ((make_config().model, 1e-6), (reference().model, 1e-5)):
        spec = PolicySpec.of(TrainingData.of(make_dataset([9])), config)
        model = abstract_model(spec)
        norms = [module for _, module in nnx.iter_graph(model) if isinstance(module, LayerNorm)]
        assert len(norms) == 6 and {norm.epsilon for norm in norms} == {epsilon}
    norm = recipe_of(reference().model).norm(2, rngs=nnx.Rngs(0))
    small = jnp.array([[0.003, -0.003]])  # its variance is 9e-6
    np.testing.assert_allclose(norm(small), small / np.sqrt(9e-6 + 1e-5), rtol=1e-5)


def test_attention_weights_drop_in_this_recipe_alone() -> None:
    for config, rate in ((make_config(dropout=0.3).model, 0.0), (reference().model, 0.1)):
        spec = PolicySpec.of(TrainingData.of(make_dataset([9])), config)
        model = abstract_model(spec)
        assert model.transformer.blocks[0].attention.dropout == rate
        assert recipe_of(config).attention_dropout == bool(rate)


def test_everything_decays_and_the_schedule_is_flat_after_a_share_of_the_run() -> None:
    config = with_recipe(TrainConfig(), "chen2021").optimizer
    schedule = make_schedule(config, 100_000)
    assert float(schedule(0)) == pytest.approx(1e-8, rel=1e-3)  # the first of 10,000 steps up
    assert float(schedule(4_999)) == pytest.approx(0.5e-4)
    assert [float(schedule(i)) for i in (9_999, 10_000, 99_999)] == pytest.approx([1e-4] * 3)
    assert float(make_schedule(config, 50)(4)) == pytest.approx(1e-4)
    params = {"kernel": jnp.ones(2), "bias": jnp.ones(2), "embedding": jnp.ones(2)}
    optimizer = make_optimizer(dataclasses.replace(config, weight_decay=0.5), 10)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    assert all((update < 0).all() for update in updates.values())


@pytest.mark.slow
def test_it_learns() -> None:
    dataset = make_dataset([12, 12])
    data = TrainingData.of(dataset)
    config = dataclasses.replace(
        reference(width=16, num_layers=1),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=2, decay="all"),
    )
    learner = Learner(PolicySpec.of(data, config.model), config)
    batch = jax.tree.map(
        jnp.asarray,
        gather(
            learner.spec.codec.encode(data.rows),
            Windows(*(np.array(v) for v in ([0, 6, 12, 20], [3, 3, 3, 3], [0, 6, 0, 8]))),
            3,
        ),
    )
    state, step = jax.jit(learner.init)(), jax.jit(learner.train_step)
    losses = []
    for _ in range(80):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-5:]) < 0.3 * losses[0]
