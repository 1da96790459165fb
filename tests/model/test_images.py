"""Do pictures reach the model whichever way their axes lie, and is the future out of sight?"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces
from tiny import make_config
from toy import toy_dataset

from dt.data import Batch, TrainingData, Windows, gather
from dt.model.decision_transformer import DecisionTransformer
from dt.model.embed.images import ATARI, ImageEncoder, channels_last, convolve, layers_for
from dt.model.recipe import recipe_of
from dt.spec.spec import PolicySpec

SEEN = spaces.Dict(
    camera=spaces.Box(0, 255, (5, 4), np.uint8),
    mode=spaces.MultiDiscrete([2, 3]),
    position=spaces.Box(-1.0, 1.0, (2,), np.float32),
)
DONE = spaces.Dict(grip=spaces.Discrete(2), move=spaces.Box(-1.0, 1.0, (2,), np.float32))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("side", "kernel", "stride"), [(11, 8, 4), (9, 4, 2), (7, 3, 1), (7, 3, 2)]
)
def test_the_convolution_is_jax_s_in_value_and_gradient(
    side: int, kernel: int, stride: int
) -> None:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, side, side + 2, 3)), jnp.float32)
    weights = jnp.asarray(rng.normal(size=(kernel, kernel, 3, 5)), jnp.float32)

    def theirs(x: jax.Array, weights: jax.Array) -> jax.Array:
        order = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, weights, (stride, stride), "VALID", dimension_numbers=order
        )

    def squares(function: object, x: jax.Array, weights: jax.Array) -> jax.Array:
        return jnp.sin(function(x, weights)).sum()  # type: ignore[operator]

    def ours(x: jax.Array, weights: jax.Array) -> jax.Array:
        return convolve(x, weights, stride)

    np.testing.assert_allclose(ours(x, weights), theirs(x, weights), rtol=1e-4, atol=1e-4)
    gradients = (
        jax.grad(lambda x, w, f=f: squares(f, x, w), argnums=(0, 1))(x, weights)
        for f in (ours, theirs)
    )
    for mine, reference in zip(*gradients, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-3, atol=1e-3)


def test_a_picture_is_the_same_in_any_order_of_its_axes() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 2, 6, 5, 3), dtype=np.uint8)
    expected = np.concatenate([frames[:, 0], frames[:, 1]], axis=-1)
    np.testing.assert_array_equal(channels_last(jnp.asarray(frames)), expected)
    first = np.moveaxis(frames, -1, -3)
    np.testing.assert_array_equal(channels_last(jnp.asarray(first)), expected)
    np.testing.assert_array_equal(channels_last(jnp.asarray(first[:, 0])), frames[:, 0])
    grey = frames[:, 0, :, :, 0]
    np.testing.assert_array_equal(channels_last(jnp.asarray(grey)), grey[..., None])


def test_every_size_from_three_pixels_on_has_an_encoder() -> None:
    assert layers_for(84, 84) == layers_for(36, 40) == ATARI
    recipe = recipe_of(make_config().model)
    for height, width in ((3, 3), (3, 50), (4, 4), (7, 7), (16, 12), (35, 64), (36, 36)):
        shape = (height, width, 2)
        encoder = nnx.eval_shape(
            lambda shape=shape: ImageEncoder(shape, 255, 8, recipe, rngs=nnx.Rngs(0))
        )
        pixels = jax.ShapeDtypeStruct((2, 3, int(np.prod(shape))), jnp.uint8)
        vectors = nnx.eval_shape(lambda encoder, pixels: encoder(pixels), encoder, pixels)
        assert vectors.shape == (2, 3, 8)


def build() -> tuple[DecisionTransformer, Batch]:
    """A model of one layer with random weights, and one segment of four steps."""
    data = TrainingData.of(toy_dataset(SEEN, DONE, episodes=3))
    config = make_config(num_layers=1, context_length=2)
    spec = PolicySpec.of(data, config.model)
    model = DecisionTransformer(spec, rngs=nnx.Rngs(0))
    windows = Windows(*(np.array([value]) for value in (4, 4, 0)))
    steps = spec.codec.encode(data.rows, data.images)
    return model, jax.tree.map(jnp.asarray, gather(steps, windows, 4))


predict = nnx.jit(DecisionTransformer.__call__)


def outputs(model: DecisionTransformer, batch: Batch) -> np.ndarray:
    prediction = predict(model, batch, None)
    return np.concatenate([prediction.numbers, prediction.categories], axis=-1)[0]


@pytest.mark.slow
@pytest.mark.parametrize("field", ["numbers", "categories", "pixels"])
def test_what_is_seen_changes_its_own_window_s_predictions_alone(field: str) -> None:
    """Bytes and categories have no gradient; so each step's are changed, one after another."""
    model, batch = build()
    before = outputs(model, batch)
    for t in range(4):
        values = getattr(batch.observations, field)
        other = values.at[0, t].set(1 - values[0, t] if field == "categories" else 77)
        seen = batch.observations._replace(**{field: other})
        changed = np.abs(outputs(model, batch._replace(observations=seen)) - before).max(axis=1)
        assert ((changed > 0) == [t <= step < t + 2 for step in range(4)]).all()


@pytest.mark.parametrize("field", ["numbers", "categories"])
def test_what_is_done_changes_later_predictions_alone(field: str) -> None:
    model, batch = build()
    before = outputs(model, batch)
    for t in range(4):
        values = getattr(batch.actions, field)
        done = batch.actions._replace(**{field: values.at[0, t].set(1 - values[0, t])})
        changed = np.abs(outputs(model, batch._replace(actions=done)) - before).max(axis=1)
        assert ((changed > 0) == [t < step < t + 2 for step in range(4)]).all()


@pytest.mark.slow
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side: str) -> None:
    model, batch = build()

    def pad(x: jax.Array) -> jax.Array:
        junk = jnp.full((1, 3, *x.shape[2:]), 0 if x.dtype == bool else 1, x.dtype)
        return jnp.concatenate([junk, x] if side == "left" else [x, junk], axis=1)

    padded = outputs(model, jax.tree.map(pad, batch))
    real = padded[3:] if side == "left" else padded[:4]
    np.testing.assert_allclose(real, outputs(model, batch), atol=1e-6)
