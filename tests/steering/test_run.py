"""Does a run with nothing to do equal the model, and does what it is asked fit the model?"""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from flax import nnx
from guided import DATA, PARAMS, SPEC

from dt import steering
from dt.acting.policy import ReturnConditionedPolicy
from dt.config import ModelConfig
from dt.data import TrainingData
from dt.model.decision_transformer import DecisionTransformer
from dt.spec.spec import PolicySpec
from dt.steering.contexts import Contexts, draw_contexts


@functools.cache
def policy() -> ReturnConditionedPolicy:
    return ReturnConditionedPolicy(PARAMS, SPEC)


@functools.cache
def contexts() -> Contexts:
    return draw_contexts(TrainingData.of(DATA), SPEC, 5)


def test_nothing_to_do_is_the_plain_model_bit_for_bit() -> None:
    batch = contexts().batch
    plain = nnx.jit(lambda model, batch: model(batch))(
        nnx.merge(policy().program.graph, PARAMS), batch
    )
    jax.tree.map(
        np.testing.assert_array_equal, steering.run(policy(), contexts()).prediction, plain
    )


def test_hiding_the_return_by_an_edit_is_the_unconditional_model() -> None:
    null = steering.null(policy(), "tokens.return")
    edited = steering.run(policy(), contexts(), do={"tokens.return": null}, read=["final"])
    hidden = steering.run(policy(), contexts(), null_returns=True)
    np.testing.assert_allclose(edited.prediction.numbers, hidden.prediction.numbers, atol=1e-6)
    assert edited.read["final"].shape == (5, 9, 8)


def test_what_the_model_cannot_do_is_one_line() -> None:
    with pytest.raises(ValueError, match="no point 'block.0.mlp.out'; did you mean 'blocks.0"):
        steering.run(policy(), contexts(), read=["block.0.mlp.out"])
    with pytest.raises(ValueError, match="the null token stands at tokens.return"):
        steering.null(policy(), "inputs.return")
    spec = PolicySpec.of(
        TrainingData.of(DATA),
        ModelConfig(recipe="chen2021", num_layers=1, width=8, return_dropout=0.0),
        max_episode_steps=40,
    )
    paper = ReturnConditionedPolicy(nnx.state(DecisionTransformer(spec, rngs=nnx.Rngs(0))), spec)
    with pytest.raises(ValueError, match="recipe chen2021 .* has no null token"):
        steering.null(paper, "tokens.return")
