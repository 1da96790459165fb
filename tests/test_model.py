"""Does every prediction see exactly what it may: its window's past, and nothing else?"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import make_config, make_dataset
from flax import nnx
from gymnasium import spaces

from dt.data import Batch, EpisodeDataset, TrainingData, Windows, gather
from dt.model.decision_transformer import DecisionTransformer, Moment
from dt.model.layers import LayerNorm, Linear
from dt.model.tokens import TokenLayout
from dt.spec import PolicySpec

LAYOUTS = ["return-observation-action", "observation-return-action", "observation-action"]
ACTIONS = {"continuous": None, "discrete": spaces.Discrete(3, start=1)}


def build(
    layout: str = LAYOUTS[0], actions: str = "continuous", **model: object
) -> tuple[DecisionTransformer, Batch]:
    """A model with random weights, and one segment of nine steps."""
    dataset: EpisodeDataset = make_dataset([5, 12], ACTIONS[actions])
    config = make_config(layout=layout, **model)
    spec = PolicySpec.of(TrainingData.of(dataset), config.model, max_episode_steps=40)
    model_ = DecisionTransformer(spec, rngs=nnx.Rngs(0))
    windows = Windows(*(np.array([value]) for value in (7, 9, 2)))
    batch = jax.tree.map(
        jnp.asarray, gather(spec.encode(TrainingData.of(dataset).rows), windows, 9)
    )
    return model_, batch


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_prediction_depends_on_its_window_and_nothing_later(layout: str) -> None:
    model, batch = build(layout, num_layers=1)  # one layer: the window is context_length = 3
    t = 5

    def sensitivity(field: str) -> np.ndarray:
        def output(values: jax.Array) -> jax.Array:
            return jnp.square(model(batch._replace(**{field: values}))[0, t]).sum()

        gradient = jax.grad(output)(getattr(batch, field))[0]
        return np.abs(np.asarray(gradient)).reshape(9, -1).sum(axis=1)

    observations = sensitivity("observations")
    assert (observations[[3, 4, 5]] > 0).all()
    assert (observations[[0, 1, 2, 6, 7, 8]] == 0).all()
    actions = sensitivity("actions")
    assert (actions[[3, 4]] > 0).all()
    assert (actions[[0, 1, 2, 5, 6, 7, 8]] == 0).all()  # action t must not see itself
    returns = sensitivity("returns_to_go")
    assert (returns[6:] == 0).all()
    assert (returns[[3, 4, 5]] > 0).all() == ("return" in layout)


def test_layers_widen_what_is_seen_by_one_window_each() -> None:
    model, batch = build(num_layers=2)
    gradient = jax.grad(lambda x: jnp.square(model(batch._replace(observations=x))[0, 8]).sum())(
        batch.observations
    )
    seen = np.abs(np.asarray(gradient[0])).sum(axis=1) > 0
    assert seen.tolist() == [False] * 4 + [True] * 5


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side: str) -> None:
    model, batch = build()
    rng = np.random.default_rng(0)

    def pad(x: jax.Array) -> jax.Array:
        junk = jnp.asarray(rng.normal(size=(1, 4, *x.shape[2:])).astype(x.dtype))
        junk = jnp.zeros_like(junk) if x.dtype == bool else jnp.abs(junk).astype(x.dtype)
        return jnp.concatenate([junk, x] if side == "left" else [x, junk], axis=1)

    padded = model(jax.tree.map(pad, batch))
    real = padded[:, 4:] if side == "left" else padded[:, :9]
    np.testing.assert_allclose(real, model(batch), atol=1e-6)


@pytest.mark.parametrize("actions", list(ACTIONS))
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("context_length", [1, 3, 6])
def test_the_ring_cache_computes_the_full_forward(
    layout: str, actions: str, context_length: int
) -> None:
    model, batch = build(layout, actions, context_length=context_length)
    full = model(batch)
    # Two rows; the second starts four steps late, in slots that an earlier episode has used.
    cache, late = model.init_cache(2), 4
    step = nnx.jit(DecisionTransformer.step)
    for t in range(9 + late):
        clocks = np.array([min(t, 8), t - late if t >= late else t])
        if t == late:
            cache = cache._replace(timesteps=cache.timesteps.at[1].set(-1))
        moment = Moment(
            previous_action=batch.actions[0, np.maximum(clocks - 1, 0)],
            observation=batch.observations[0, clocks],
            return_to_go=batch.returns_to_go[0, clocks],
            timestep=jnp.asarray(clocks, jnp.int32),
        )
        # Positions count from the window's start here, as the batch's do after the shift below.
        prediction, cache = step(model, moment, jnp.zeros(2, bool), cache)
        shifted = batch._replace(timesteps=batch.timesteps - batch.timesteps[:, :1])
        full = model(shifted)
        if t < 9:
            np.testing.assert_allclose(prediction[0], full[0, t], atol=1e-5)
        if t >= late:
            np.testing.assert_allclose(prediction[1], full[0, t - late], atol=1e-5)


def test_the_null_return_hides_the_return() -> None:
    model, batch = build()
    other = batch._replace(returns_to_go=batch.returns_to_go + 1.0)
    null = jnp.array([True])
    np.testing.assert_array_equal(model(batch, null), model(other, null))
    assert np.abs(np.asarray(model(batch) - model(other))).max() > 1e-4


def test_positions_tell_timesteps_apart() -> None:
    model, batch = build()
    later = batch._replace(timesteps=batch.timesteps + 3)
    assert np.abs(np.asarray(model(batch) - model(later))).max() > 1e-4


def test_bounded_actions_stay_in_their_box_and_dropout_is_off_without_rngs() -> None:
    model, batch = build(dropout=0.5)
    far = batch._replace(observations=batch.observations * 100)
    assert np.abs(np.asarray(model(far))).max() <= 1.0
    np.testing.assert_array_equal(model(batch), model(batch))
    assert (model(batch, rngs=nnx.Rngs(1)) != model(batch, rngs=nnx.Rngs(2))).any()


def test_our_layers_equal_flax_in_value_and_gradient() -> None:
    x = jax.random.normal(jax.random.key(0), (2, 5, 8)) * 3 + 1
    for ours, theirs in (
        (Linear(8, 4, rngs=nnx.Rngs(1)), nnx.Linear(8, 4, rngs=nnx.Rngs(1))),
        (LayerNorm(8, rngs=nnx.Rngs(1)), nnx.LayerNorm(8, epsilon=1e-6, rngs=nnx.Rngs(1))),
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
