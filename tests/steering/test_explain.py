"""Do attributions add up and fall to their controls, and do smallest edits do what they say?"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from guided import DATA, PARAMS, SPEC
from gymnasium import spaces
from tiny import make_config, make_dataset

from dt import steering
from dt.acting.policy import ReturnConditionedPolicy
from dt.config import ModelConfig
from dt.data import EpisodeDataset, TrainingData
from dt.model.decision_transformer import DecisionTransformer
from dt.report.explain_plots import plot_explained
from dt.report.explain_table import explain_sheet
from dt.spec.spec import PolicySpec
from dt.steering.answer import Answer
from dt.steering.attribution import completeness, integrated_gradients, occlusion
from dt.steering.contexts import Contexts, draw_contexts
from dt.steering.explain_checks import correlation_with_random, deletion
from dt.steering.smallest import dose_response, smallest_edits


def made(data: EpisodeDataset, model: ModelConfig) -> tuple[ReturnConditionedPolicy, Contexts]:
    rows = TrainingData.of(data)
    spec = PolicySpec.of(rows, model, max_episode_steps=40)
    params = nnx.state(DecisionTransformer(spec, rngs=nnx.Rngs(1)))
    return ReturnConditionedPolicy(params, spec), draw_contexts(rows, spec, 6)


@functools.cache
def numbers() -> Answer:
    contexts = draw_contexts(TrainingData.of(DATA), SPEC, 6)
    return Answer.of(ReturnConditionedPolicy(PARAMS, SPEC), contexts)


def test_integrated_gradients_add_up_and_occlusion_is_the_answer_s_loss() -> None:
    answer = numbers()
    compute = jax.jit(lambda p: integrated_gradients(answer, p, 128))
    owed = compute(PARAMS)
    assert completeness(answer, PARAMS, owed) < 0.01
    real = answer.real(owed)
    for name, each in owed.items():  # nothing is owed to what is not there
        np.testing.assert_array_equal(np.asarray(each)[~real[name]], 0.0)
    lost = jax.jit(lambda p: occlusion(answer, p, 0))(PARAMS)
    told, none = answer.told(PARAMS), answer.nothing(PARAMS)
    one = {**told, "observation": told["observation"].at[:, 1, 2].set(none["observation"][:, 1, 2])}
    by_hand = answer(PARAMS, told) - answer(PARAMS, one)
    np.testing.assert_allclose(lost["observation"][:, 1, 2], by_hand, atol=1e-5)
    rank = correlation_with_random(answer, PARAMS, compute, 2, owed)
    assert abs(rank) < 0.5  # an untrained model's, of six contexts
    found = deletion(answer, PARAMS, "integrated-gradients", owed, 2, 0)
    assert found.p_value < 0.05 and found.areas.mean() > found.random_areas.mean()
    nothing = float(np.asarray(answer(PARAMS, none)).mean())
    assert found.ordered[-1] == pytest.approx(nothing, abs=1e-5)


@pytest.mark.thorough
def test_the_smallest_edit_moves_the_action_as_far_as_it_says_and_no_shorter_one_does() -> None:
    answer = numbers()
    edits = {edit.of: edit for edit in smallest_edits(answer, PARAMS, 0.05, 0)}
    everything, last = edits["all inputs"], edits["the last observation"]
    assert everything.reached > 0.5
    assert everything.random_reached < everything.reached
    pairs = [(a, b) for a, b in zip(everything.sizes, last.sizes, strict=True) if a and b]
    assert all(a <= 1.2 * b for a, b in pairs)  # more may be changed, so less has to be
    dose = dose_response(answer, PARAMS, 5)
    assert dose.actions.shape == (5, 2) and (dose.low <= dose.high).all()
    assert dose.returns[[0, -1]] == pytest.approx(SPEC.return_range, abs=1e-4)
    # One number, all of whose values were tried: no other return of the data is nearer.
    assert all(size is None or size > 0 for size in edits["the last return"].sizes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    ["choice", *(pytest.param(kind, marks=pytest.mark.thorough) for kind in ("paper", "bins"))],
)
def test_all_is_found_of_choices_imported_models_and_bins(kind: str, tmp_path: Path) -> None:
    data = make_dataset([7, 2, 11], spaces.Discrete(3) if kind == "choice" else None)
    model = make_config(num_layers=1).model
    if kind == "paper":
        model = ModelConfig(
            recipe="chen2021", context_length=3, num_layers=1, width=8, return_dropout=0.0
        )
    if kind == "bins":
        model = make_config(num_layers=1, head="bins-uniform", num_bins=5, layout="fused").model
    policy, contexts = made(data, model)
    found = steering.explain(policy, on=contexts, steps=16, draws=1)
    assert found.owed[0].method == "integrated-gradients" and len(found.owed) == 6
    assert sum(found.owed[0].shares.values()) == pytest.approx(1.0)
    assert json.loads(json.dumps(found.to_json()))["verb"] == "explain"
    assert (found.distance is None) == (kind == "choice")
    assert explain_sheet(found).rows
    plot_explained(found, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 10_000


def test_wrong_words_are_refused() -> None:
    policy = ReturnConditionedPolicy(PARAMS, SPEC)
    with pytest.raises(ValueError, match="no method 'integrated'.*did you mean"):
        steering.explain(
            policy, method="integrated", on=draw_contexts(TrainingData.of(DATA), SPEC, 2)
        )
    with pytest.raises(ValueError, match="number is 7, and an action has 2"):
        Answer.of(policy, draw_contexts(TrainingData.of(DATA), SPEC, 2), 7)
