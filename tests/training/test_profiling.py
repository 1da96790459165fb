"""A program's products are counted right, and a profile says what it promises."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from tiny import make_config

from dt.data import EpisodeDataset, TrainingData
from dt.parallel.mesh import make_mesh, place, replicated
from dt.spec.spec import PolicySpec
from dt.training.feed import Feed
from dt.training.profiling import describe_profile, measure_training, product_flops
from dt.training.step import Learner


def test_products_are_counted_as_often_as_they_run() -> None:
    def layers(x: jax.Array, w: jax.Array) -> jax.Array:
        x = jax.lax.scan(lambda c, _: (jnp.tanh(c @ w), None), x, None, length=5)[0]
        return jax.jit(jnp.matmul)(x, w)

    x, w = jnp.ones((3, 4)), jnp.ones((4, 4))
    assert product_flops(jax.make_jaxpr(layers)(x, w).jaxpr) == 6 * 2 * 3 * 4 * 4
    gradient = jax.grad(lambda w: layers(x, w).sum())
    assert product_flops(jax.make_jaxpr(gradient)(w).jaxpr) == 3 * 6 * 2 * 3 * 4 * 4


def test_convolutions_are_counted() -> None:
    image, kernel = jnp.ones((2, 3, 8, 8)), jnp.ones((5, 3, 3, 3))

    def convolve(image: jax.Array) -> jax.Array:
        return jax.lax.conv(image, kernel, (1, 1), "VALID")

    flops = product_flops(jax.make_jaxpr(convolve)(image).jaxpr)
    assert flops == 2 * (2 * 5 * 6 * 6) * (3 * 3 * 3)


@pytest.mark.thorough
def test_a_profile_says_where_time_goes(tmp_path: Path, tiny_dataset: EpisodeDataset) -> None:
    tiny_config = make_config()  # of two layers, of which only the last leaves queries out
    tiny_spec = PolicySpec.of(TrainingData.of(tiny_dataset), tiny_config.model)
    learner = Learner(tiny_spec, tiny_config)
    mesh = make_mesh(jax.devices()[:1])
    feed = Feed(TrainingData.of(tiny_dataset), tiny_spec, tiny_config, mesh)
    state = place(learner.init(), replicated(mesh))
    profile = measure_training(learner, state, feed, tmp_path / "profile")
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    assert profile.seconds > 0 and profile.forward > 0 and profile.optimizer > 0
    # At least the blocks' own products: 24 D^2 a token and layer, 3 tokens a timestep, 48 of those.
    blocks = 3 * 24 * 8**2 * 2 * 3 * 24
    assert blocks < profile.model_flops < 3 * blocks
    assert 0 < profile.utilization < 1 and "measured here" in profile.peak_source
    text = describe_profile(profile)
    for words in ("forward", "backward", "optimiser", "feeding", "utilisation", "B accessed"):
        assert words in text
