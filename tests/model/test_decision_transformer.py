"""Does every prediction see exactly what it may: its window's past, and nothing else?"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces
from tiny import make_config, make_dataset

from dt.data import Batch, EpisodeDataset, TrainingData, Windows, gather
from dt.model.decision_transformer import DecisionTransformer
from dt.model.layers import LayerNorm, Linear, RMSNorm
from dt.model.recomputed_window import Moment
from dt.spec.layout import TokenLayout
from dt.spec.spec import PolicySpec

LAYOUTS = [
    "return-observation-action",
    "observation-return-action",
    "observation-action",
    "fused",
    "return+observation-action",
    "return+observation",
    "return-observation-action/adaln",
    "fused/adaln",
]
ACTIONS = {"continuous": None, "discrete": spaces.Discrete(3, start=1)}


# Op by op each would be compiled for itself, which takes many times as long.
forward = nnx.jit(DecisionTransformer.__call__)


def build(
    layout: str = LAYOUTS[0], actions: str = "continuous", **model: object
) -> tuple[DecisionTransformer, Batch]:
    """A model with random weights, and one segment of nine steps."""
    dataset: EpisodeDataset = make_dataset([5, 12], ACTIONS[actions])
    layout, _, conditioning = layout.partition("/")
    config = make_config(layout=layout, conditioning=conditioning or "token", **model)
    spec = PolicySpec.of(TrainingData.of(dataset), config.model, max_episode_steps=40)
    model_ = DecisionTransformer(spec, rngs=nnx.Rngs(0))
    windows = Windows(*(np.array([value]) for value in (7, 9, 2)))
    batch = jax.tree.map(
        jnp.asarray, gather(spec.codec.encode(TrainingData.of(dataset).rows), windows, 9)
    )
    return model_, batch


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_prediction_depends_on_its_window_and_nothing_later(layout: str) -> None:
    model, batch = build(layout, num_layers=1)  # one layer: the window is context_length = 3
    if "adaln" in layout:
        for block in model.transformer.blocks:  # zero at first: nothing would depend on it
            kernel = block.modulation.kernel
            kernel[...] = jax.random.normal(jax.random.key(0), kernel.shape)
    t = 5

    def output(inputs: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        replaced = batch._replace(
            observations=batch.observations._replace(numbers=inputs[0]),
            actions=batch.actions._replace(numbers=inputs[1]),
            returns_to_go=inputs[2],
        )
        return jnp.square(model(replaced).numbers[0, t]).sum()

    inputs = (batch.observations.numbers, batch.actions.numbers, batch.returns_to_go)
    observations, actions, returns = (
        np.flatnonzero(np.abs(np.asarray(gradient[0])).reshape(9, -1).sum(axis=1)).tolist()
        for gradient in jax.jit(jax.grad(output))(inputs)
    )
    assert observations == [3, 4, 5]
    # Action t must not see itself. As a part of the next step's token an action is seen with it.
    carried = model.layout.carries_previous_action
    acted = [2, 3, 4] if carried else [3, 4] if model.layout.has("action") else []
    assert actions == acted
    told = "return" in layout or "fused" in layout
    assert returns == ([3, 4, 5] if told else [])


@pytest.mark.parametrize("head", ["bins", "expectile"])
def test_an_expected_return_depends_on_what_stands_before_it(head: str) -> None:
    model, batch = build("observation-return-action", num_layers=1, return_head=head)

    def expected(returns: jax.Array) -> jax.Array:
        replaced = batch._replace(returns_to_go=returns)
        return jnp.square(model.predictions(replaced)[1][0, 5]).sum()

    gradient = np.asarray(jax.jit(jax.grad(expected))(batch.returns_to_go)[0])
    assert np.flatnonzero(gradient).tolist() == [3, 4]  # of its window, without itself


@pytest.mark.slow
def test_the_return_s_loss_is_added_to_the_action_s() -> None:
    model, batch = build("observation-return-action", return_weight=0.25)
    actions, returns = nnx.jit(DecisionTransformer.predictions)(model, batch)
    by_part = {
        "action": model.head.loss(actions, batch.actions),
        "return": model.return_head.loss(returns, batch.returns_to_go),
    }
    total, parts = nnx.jit(DecisionTransformer.losses)(model, batch)
    assert parts.keys() == by_part.keys()
    for name, expected in by_part.items():
        np.testing.assert_allclose(parts[name], expected, rtol=1e-5)
    np.testing.assert_allclose(total, by_part["action"] + 0.25 * by_part["return"], rtol=1e-6)


def test_a_model_that_predicts_no_returns_has_one_loss() -> None:
    total, parts = nnx.jit(DecisionTransformer.losses)(*build())
    assert parts.keys() == {"action"}
    np.testing.assert_array_equal(parts["action"], total)


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
def test_a_return_that_the_model_chooses_is_the_one_it_acts_on(recompute: bool) -> None:
    model, batch = build("observation-return-action")

    def play(choose: bool) -> tuple[list[jax.Array], list[jax.Array]]:
        chooser = model.return_head.mean if choose else None
        step = jax.jit(lambda now, cache: model.step(now, jnp.zeros(1, bool), cache, chooser))
        cache, asked, acted = model.init_cache(1, recompute), [], []
        for t in range(6):
            moment = Moment(
                previous_action=jax.tree.map(lambda x, t=t: x[:, max(t - 1, 0)], batch.actions),
                observation=jax.tree.map(lambda x, t=t: x[:, t], batch.observations),
                return_to_go=jnp.full(1, 9.0) if choose else chosen[t],
                timestep=jnp.full(1, t, jnp.int32),
            )
            prediction, cache, told = step(moment, cache)
            asked.append(told)
            acted.append(prediction.numbers)
        return asked, acted

    chosen, freely = play(choose=True)
    _, told = play(choose=False)
    np.testing.assert_allclose(freely, told, atol=1e-6)
    assert np.ptp(np.ravel(chosen)) > 0


def test_a_step_of_one_token_and_no_past_is_an_mlp() -> None:
    model, batch = build("return+observation", context_length=1)
    paths = ["/".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(model))]
    assert not [path for path in paths if "attention" in path]
    assert [path for path in paths if "expand" in path]


def test_adaptive_norms_start_as_if_they_were_told_nothing() -> None:
    model, batch = build("return-observation-action/adaln")
    other = batch._replace(returns_to_go=batch.returns_to_go + 1.0)
    np.testing.assert_array_equal(forward(model, batch).numbers, forward(model, other).numbers)


@pytest.mark.slow
def test_layers_widen_what_is_seen_by_one_window_each() -> None:
    model, batch = build(num_layers=2)
    seen = batch.observations

    def output(numbers: jax.Array) -> jax.Array:
        replaced = batch._replace(observations=seen._replace(numbers=numbers))
        return jnp.square(model(replaced).numbers[0, 8]).sum()

    gradient = jax.jit(jax.grad(output))(seen.numbers)
    reached = np.abs(np.asarray(gradient[0])).sum(axis=1) > 0
    assert reached.tolist() == [False] * 4 + [True] * 5


@pytest.mark.slow
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side: str) -> None:
    model, batch = build()
    rng = np.random.default_rng(0)

    def pad(x: jax.Array) -> jax.Array:
        junk = jnp.asarray(rng.normal(size=(1, 4, *x.shape[2:])).astype(x.dtype))
        junk = jnp.zeros_like(junk) if x.dtype == bool else jnp.abs(junk).astype(x.dtype)
        return jnp.concatenate([junk, x] if side == "left" else [x, junk], axis=1)

    padded = forward(model, jax.tree.map(pad, batch)).numbers
    real = padded[:, 4:] if side == "left" else padded[:, :9]
    np.testing.assert_allclose(real, forward(model, batch).numbers, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "actions", "context_length"),
    [
        *((LAYOUTS[0], "continuous", length) for length in (1, 3, 6)),
        *((layout, "continuous", 3) for layout in LAYOUTS[1:3]),
        *(
            pytest.param(layout, "continuous", length, marks=pytest.mark.thorough)
            for layout in LAYOUTS[1:3]
            for length in (1, 6)
        ),
        *((layout, "discrete", 3) for layout in LAYOUTS[2:]),
        *(
            pytest.param(layout, "discrete", 3, marks=pytest.mark.thorough)
            for layout in LAYOUTS[:2]
        ),
    ],
)
def test_the_ring_cache_computes_the_full_forward(
    layout: str, actions: str, context_length: int
) -> None:
    model, batch = build(layout, actions, context_length=context_length)
    if "adaln" in layout:
        for block in model.transformer.blocks:
            kernel = block.modulation.kernel
            kernel[...] = jax.random.normal(jax.random.key(0), kernel.shape)
    # Two rows; the second starts four steps late, in slots that an earlier episode has used.
    cache, late = model.init_cache(2), 4
    step = nnx.jit(DecisionTransformer.step)
    # Positions count from the window's start below, and so do these.
    shifted = batch._replace(timesteps=batch.timesteps - batch.timesteps[:, :1])
    whole = jax.tree.leaves(forward(model, shifted))
    for t in range(9 + late):
        clocks = np.array([min(t, 8), t - late if t >= late else t])
        if t == late:
            cache = cache.emptied(jnp.array([False, True]))
        before = np.maximum(clocks - 1, 0)
        moment = Moment(
            previous_action=jax.tree.map(lambda x, at=before: x[0, at], batch.actions),
            observation=jax.tree.map(lambda x, now=clocks: x[0, now], batch.observations),
            return_to_go=batch.returns_to_go[0, clocks],
            timestep=jnp.asarray(clocks, jnp.int32),
            previous_return=batch.returns_to_go[0, before],
        )
        prediction, cache, _ = step(model, moment, jnp.zeros(2, bool), cache)
        for acted, trained in zip(jax.tree.leaves(prediction), whole, strict=True):
            if t < 9:
                np.testing.assert_allclose(acted[0], trained[0, t], atol=1e-5)
            if t >= late:
                np.testing.assert_allclose(acted[1], trained[0, t - late], atol=1e-5)


@pytest.mark.slow
def test_the_null_return_hides_the_return() -> None:
    model, batch = build()
    other = batch._replace(returns_to_go=batch.returns_to_go + 1.0)
    null = jnp.array([True])
    np.testing.assert_array_equal(
        forward(model, batch, null).numbers, forward(model, other, null).numbers
    )
    assert (
        np.abs(np.asarray(forward(model, batch).numbers - forward(model, other).numbers)).max()
        > 1e-4
    )


def test_positions_tell_timesteps_apart() -> None:
    model, batch = build()
    later = batch._replace(timesteps=batch.timesteps + 3)
    assert (
        np.abs(np.asarray(forward(model, batch).numbers - forward(model, later).numbers)).max()
        > 1e-4
    )


@pytest.mark.slow
def test_bounded_actions_stay_in_their_box_and_dropout_is_off_without_rngs() -> None:
    model, batch = build(dropout=0.5)
    seen = batch.observations
    far = batch._replace(observations=seen._replace(numbers=seen.numbers * 100))
    assert np.abs(np.asarray(forward(model, far).numbers)).max() <= 1.0
    np.testing.assert_array_equal(forward(model, batch).numbers, forward(model, batch).numbers)
    dropped = [forward(model, batch, rngs=nnx.Rngs(seed)).numbers for seed in (1, 2)]
    assert (dropped[0] != dropped[1]).any()


@pytest.mark.slow
def test_our_layers_equal_flax_in_value_and_gradient() -> None:
    x = jax.random.normal(jax.random.key(0), (2, 5, 8)) * 3 + 1
    for ours, theirs in (
        (Linear(8, 4, rngs=nnx.Rngs(1)), nnx.Linear(8, 4, rngs=nnx.Rngs(1))),
        (
            Linear(8, 4, use_bias=False, rngs=nnx.Rngs(1)),
            nnx.Linear(8, 4, use_bias=False, rngs=nnx.Rngs(1)),
        ),
        (LayerNorm(8, rngs=nnx.Rngs(1)), nnx.LayerNorm(8, epsilon=1e-6, rngs=nnx.Rngs(1))),
        (RMSNorm(8, rngs=nnx.Rngs(1)), nnx.RMSNorm(8, epsilon=1e-6, rngs=nnx.Rngs(1))),
    ):
        np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-5, atol=1e-6)

        def loss(layer: nnx.Module, x: jax.Array) -> jax.Array:
            return jnp.sin(layer(x)).sum()  # type: ignore[operator]

        mine = nnx.grad(loss, argnums=(0, 1))(ours, x)
        reference = nnx.grad(loss, argnums=(0, 1))(theirs, x)
        for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(reference), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "text", ["return-action", "action-observation", "observation-observation-action", "x-action"]
)
def test_an_impossible_layout_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        TokenLayout.parse(text)
