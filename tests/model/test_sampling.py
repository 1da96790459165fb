"""Is the likeliest, the nucleus and the temperature what it says, and is nonsense refused?"""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import make_config

from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.data import EpisodeDataset, TrainingData
from dt.model.decision_transformer import DecisionTransformer
from dt.model.heads.sampling import Sampling, draw, nucleus
from dt.spec.spec import PolicySpec

PROBABILITIES = np.array([0.15, 0.5, 0.05, 0.3], np.float32)
LOGITS = jnp.log(PROBABILITIES)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        (1e-9, [1]),
        (0.5, [1]),
        (0.51, [1, 3]),
        (0.8, [1, 3]),
        (0.81, [0, 1, 3]),
        (0.95, [0, 1, 3]),
        (0.96, [0, 1, 2, 3]),
        (1.0, [0, 1, 2, 3]),
    ],
)
def test_the_nucleus_is_the_fewest_likeliest_categories(top_p: float, kept: list[int]) -> None:
    assert np.flatnonzero(nucleus(LOGITS, top_p)).tolist() == kept


def test_of_equally_likely_categories_no_more_than_needed_are_kept() -> None:
    assert int(nucleus(jnp.zeros((7, 10)), 0.3).sum()) == 7 * 3


def test_only_the_nucleus_is_drawn_in_its_own_proportions() -> None:
    many = jnp.broadcast_to(LOGITS, (20_000, 4))
    drawn = np.asarray(draw(many, jax.random.key(0), Sampling(top_p=0.8)))
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, [0, 0.5 / 0.8, 0, 0.3 / 0.8], atol=0.012)
    assert shares[0] == shares[2] == 0.0


def test_temperature_is_a_power_of_the_probabilities_and_comes_before_top_p() -> None:
    many = jnp.broadcast_to(LOGITS, (20_000, 4))
    drawn = np.asarray(draw(many, jax.random.key(1), Sampling(temperature=0.5)))
    squared = PROBABILITIES**2 / (PROBABILITIES**2).sum()
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / len(drawn), squared, atol=0.012)
    # Squared, the first holds 0.68 and the first two 0.93.
    drawn = np.asarray(draw(many, jax.random.key(1), Sampling(temperature=0.5, top_p=0.9)))
    assert set(drawn.tolist()) == {1, 3}


@pytest.mark.parametrize("temperature", [1e-3, 1e-38])
def test_the_limit_of_temperature_0_is_the_likeliest(temperature: float) -> None:
    logits = jax.random.normal(jax.random.key(2), (500, 6)) * 10
    cold = draw(logits, jax.random.key(3), Sampling(temperature=temperature))
    likeliest = draw(logits, jax.random.key(4), Sampling(deterministic=True))
    np.testing.assert_array_equal(cold, likeliest)
    np.testing.assert_array_equal(likeliest, np.argmax(logits, axis=-1))
    assert cold.dtype == likeliest.dtype == jnp.int32


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; give a number above 0, or ask for determin"),
        ({"temperature": -1.0}, "temperature is -1.0; give"),
        ({"temperature": float("nan")}, "temperature is nan; give"),
        ({"temperature": float("inf")}, "temperature is inf; give"),
        ({"top_p": 0.0}, "top_p is 0.0; give a share above 0 and at most 1"),
        ({"top_p": 1.1}, "top_p is 1.1; give"),
        ({"top_p": float("nan")}, "top_p is nan; give"),
    ],
)
def test_nonsense_is_refused_by_name(values: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(said)):
        Sampling(**values)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_policy_s_actions_are_drawn_as_it_is_told(tiny_discrete: EpisodeDataset) -> None:
    """A nucleus of next to nothing is the likeliest action, at any temperature."""
    spec = PolicySpec.of(TrainingData.of(tiny_discrete), make_config().model)
    params = nnx.state(DecisionTransformer(spec, rngs=nnx.Rngs(0)))
    observations = np.random.default_rng(0).normal(3, 2, (64, 3)).astype(np.float32)

    def actions(**options: Any) -> np.ndarray:
        policy = ReturnConditionedPolicy(params, spec, ActingOptions(**options))
        policy.reset(np.zeros(64))
        return policy.act(observations)

    likeliest = actions(deterministic=True)
    np.testing.assert_array_equal(actions(temperature=50.0, top_p=1e-6), likeliest)
    assert (actions(temperature=50.0) != likeliest).mean() > 0.3, "two of three, were it infinite"
    with pytest.raises(ValueError, match="top_p is 2.0; give"):
        actions(top_p=2.0)
