"""Guidance of each head: the two ends are the two policies, and densities multiply as they say."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dt.config import ModelConfig
from dt.model.heads import (
    BinsHead,
    CategoriesHead,
    DeterministicHead,
    GaussianHead,
    GuidableHead,
    Sampling,
)
from dt.model.recipe import recipe_of

WIDTH, RECIPE = 4, recipe_of(ModelConfig())
EDGES = np.tile(np.linspace(-1.0, 1.0, 6), (2, 1))


def head_of(name: str) -> GuidableHead:
    rngs = nnx.Rngs(0)
    if name == "categories":
        return CategoriesHead(WIDTH, (3, 5), RECIPE, rngs=rngs)
    if name == "bins":
        return BinsHead(WIDTH, EDGES, RECIPE, rngs=rngs)
    kind = GaussianHead if name == "gaussian" else DeterministicHead
    return kind(WIDTH, 2, np.array([True, False]), RECIPE, rngs=rngs)


def two_predictions(head: GuidableHead) -> tuple[jax.Array, jax.Array]:
    vectors = jax.random.normal(jax.random.key(1), (2, 50, WIDTH))
    told, untold = head(vectors)  # type: ignore[operator]
    return told, untold


@pytest.mark.parametrize("name", ["categories", "bins", "gaussian", "deterministic"])
def test_a_weight_of_one_is_the_conditional_policy_and_none_the_other(name: str) -> None:
    head = head_of(name)
    told, untold = two_predictions(head)
    for weight, same in ((1.0, told), (0.0, untold)):
        guided = head.guide(told, untold, jnp.full((50, 1), weight))
        np.testing.assert_array_equal(np.asarray(guided), np.asarray(same))


@pytest.mark.parametrize("name", ["categories", "bins"])
@pytest.mark.parametrize("weight", [0.5, 1.5, 6.0])
def test_log_probabilities_extrapolate(name: str, weight: float) -> None:
    """log p_w = log p_u + w (log p_c - log p_u) - log Z, of each number by itself."""
    head = head_of(name)
    told, untold = two_predictions(head)
    guided = head.guide(told, untold, jnp.full((50, 1), weight))
    shape = (50, 2, 5) if name == "bins" else None
    for part in (slice(0, 5), slice(5, 10)) if shape else (slice(0, 3), slice(3, 8)):
        c, u, w = (jax.nn.log_softmax(each[:, part]) for each in (told, untold, guided))
        wanted = jax.nn.log_softmax(u + weight * (c - u))
        np.testing.assert_allclose(np.asarray(w), np.asarray(wanted), atol=1e-5)


@pytest.mark.parametrize("weight", [0.5, 1.5, 3.0])
def test_gaussian_densities_extrapolate_where_there_is_a_density(weight: float) -> None:
    head = head_of("gaussian")
    assert isinstance(head, GaussianHead)
    told, untold = two_predictions(head)
    untold = untold.at[:, 2:].multiply(0.2)  # spreads far from the range's ends
    told = told.at[:, 2:].set(untold[:, 2:] - 0.05)  # and a bit narrower where it is told
    guided = head.guide(told, untold, jnp.full((50, 1), weight))
    actions = jnp.stack([jnp.linspace(-0.9, 0.9, 50), jnp.linspace(-3.0, 3.0, 50)], axis=-1)

    def log_prob(prediction: jax.Array) -> jax.Array:  # of all actions, for each prediction
        return jax.vmap(lambda p: head.log_prob(jnp.tile(p, (50, 1)), actions))(prediction)

    c, u, w = map(log_prob, (told, untold, guided))
    constant = w - (u + weight * (c - u))  # minus log Z: one number for each prediction
    spread = np.asarray(constant - constant.mean(axis=1, keepdims=True))
    scale = np.abs(np.asarray(u + weight * (c - u))).max(axis=1, keepdims=True)
    assert np.abs(spread / scale).max() < 1e-5


def test_a_gaussian_never_gets_wider_than_the_wider_of_the_two() -> None:
    """Of a spread that the condition widens a weight of 8 leaves no density: it stays finite."""
    head = head_of("gaussian")
    assert isinstance(head, GaussianHead)
    told, untold = two_predictions(head)
    told = told.at[:, 2:].set(untold[:, 2:] + 1.0)
    guided = head.guide(told, untold, jnp.full((50, 1), 8.0))
    (_, log_std), (_, widest) = head._moments(guided), head._moments(told)
    assert np.isfinite(np.asarray(guided)).all()
    assert (np.asarray(log_std) <= np.asarray(widest) + 1e-4).all()


def test_a_guided_action_stays_inside_the_space() -> None:
    head = head_of("deterministic")
    assert isinstance(head, DeterministicHead)
    told, untold = two_predictions(head)
    guided = head.guide(told, untold, jnp.full((50, 1), 8.0))
    action = np.asarray(head.act(guided, jax.random.key(0), Sampling()))
    assert (np.abs(action[:, 0]) <= 1.0).all() and np.abs(action[:, 0]).max() == 1.0
    wanted = np.asarray(untold + 8.0 * (told - untold))
    np.testing.assert_allclose(action[:, 1], wanted[:, 1], rtol=1e-6)  # where there is no bound
