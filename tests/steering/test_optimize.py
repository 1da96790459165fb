"""Searches of a model's inputs: exact is brute force, edits change what they say they change."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from steered import contexts_for, small

from dt.acting.policy import ReturnConditionedPolicy
from dt.checkpoint.load import steered
from dt.data.batches.windows import Action
from dt.model.decision_transformer import abstract_model
from dt.model.prefix import with_prefix
from dt.steering.inputs import SPACES, Reach, make_space
from dt.steering.keeping import keep
from dt.steering.objectives import action_objective, wanted_actions
from dt.steering.optimizing import optimize
from dt.steering.probe import Probe, token_norms
from dt.steering.problem import ModelProblem
from dt.steering.subject import Subject


def log_probabilities(kind: str, batch: Any, last: np.ndarray) -> np.ndarray:
    """What the model itself says at the last steps, without anything of steering."""
    policy, _ = small(kind)
    model = nnx.merge(nnx.split(abstract_model(policy.spec))[0], policy.params)
    logits = model(jax.tree.map(jnp.asarray, batch)).categories
    return np.asarray(jax.nn.log_softmax(logits))[np.arange(len(last)), last]


def test_the_exact_optimum_of_past_actions_is_brute_force() -> None:
    policy, contexts = small("discrete")[0], contexts_for("discrete")
    found = optimize(policy, on=contexts, space="actions", length=2, budget=40, want="4")
    brute = np.full(len(contexts), -np.inf)
    for pair in itertools.product(range(5), repeat=2):
        taken = contexts.batch.actions.categories.copy()
        for place, token in enumerate(pair):
            taken[np.arange(len(taken)), contexts.last - 1 - place, 0] = token
        actions = Action(contexts.batch.actions.numbers, taken)
        said = log_probabilities(
            "discrete", contexts.batch._replace(actions=actions), contexts.last
        )
        brute = np.maximum(brute, said[:, 2])  # the third action of those from 2 on
    assert found.searched.exact is not None
    np.testing.assert_allclose(found.searched.exact, brute, atol=1e-5)
    before = log_probabilities("discrete", contexts.batch, contexts.last)[:, 2]
    np.testing.assert_allclose(found.searched.unedited, before, atol=1e-5)
    assert (found.searched.found <= brute + 1e-5).all()
    assert (found.searched.found >= before - 1e-5).all() and found.edits.max() <= 2
    assert found.method == "greedy" and found.outcome.cost.backward > 0
    assert found.to_json()["gap_to_exact"] >= -1e-6


def test_the_return_by_gradient_is_as_good_as_a_grid() -> None:
    policy, contexts = small("discrete")[0], contexts_for("discrete")
    found = optimize(policy, on=contexts, budget=120, restarts=4)
    assert found.searched.exact is not None
    miss = np.exp(found.searched.exact) - np.exp(found.searched.found)
    assert miss.max() <= 0.01 and found.outcome.cost.env_steps == 0
    assert found.outcome.weights.before == found.outcome.weights.after


def test_slopes_of_tokens_are_those_of_their_vectors() -> None:
    """Against a finite difference along the vector of another action."""
    policy, contexts = small("discrete")[0], contexts_for("discrete", 2)
    plain = Probe.of(policy.params, policy.spec)
    wanted, _ = wanted_actions(plain, contexts, "3", np.random.default_rng(0))
    objective = action_objective(policy.spec, wanted)
    space = make_space(SPACES, "actions", plain, contexts, Reach(length=2))
    ledger = Subject.of(policy).ledger()
    problem = ModelProblem(plain, plain, contexts, wanted, objective.score, space, ledger)
    tokens = np.array([[0, 3], [1, -1]])
    values, slopes = problem.slopes(tokens[:, None])
    np.testing.assert_allclose(values, problem.values(tokens[:, None]), atol=1e-6)
    model, step = plain.model(plain.params), 1e-2
    batch, wish = jax.tree.map(jnp.asarray, (contexts.batch, wanted))
    weights = jnp.zeros((2, 2, 5)).at[:, 1, 4].set(step)

    def score(weights: jax.Array) -> np.ndarray:
        edit = space.write(batch, contexts.last, tokens, weights)
        return np.asarray(
            objective.score(model, plain.say(model, batch, contexts.last, edit), wish)
        )

    slope = (score(weights) - score(-weights)) / (2 * step)
    np.testing.assert_allclose(slopes[:, 0, 1, 4], slope, rtol=0.05, atol=1e-3)


def test_a_soft_prefix_is_bounded_judged_on_other_contexts_and_kept(tmp_path: Path) -> None:
    policy, contexts = small("numbers")[0], contexts_for("numbers", 8)
    found = optimize(
        policy, on=contexts, space="prefix", universal=True, length=2, budget=60, restarts=1,
        want="1,-1",
    )  # fmt: skip
    norms = np.linalg.norm(found.inputs.reshape(2, -1), axis=1)
    tokens = token_norms(
        Probe.of(policy.params, policy.spec), contexts[:4].batch, contexts[:4].batch.mask
    )
    assert found.radius == pytest.approx(np.percentile(tokens, 95))
    assert norms.max() <= found.radius + 1e-5
    assert len(found.searched.found) == len(found.others.found) == 4
    keep(found, tmp_path / "x.steer")
    acting = steered(policy, tmp_path / "x.steer", policy.options)
    assert acting.spec.num_soft == 2
    np.testing.assert_allclose(acting.params["embed"]["soft"][...], found.inputs.reshape(2, 8))
    assert found.searched.lift(False) > 0 and found.outcome.line().startswith(found.outcome.verdict)


@pytest.mark.parametrize("kind", [pytest.param("gaussian", marks=pytest.mark.thorough), "imported"])
def test_other_models_are_searched_too(kind: str) -> None:
    policy, contexts = small(kind)[0], contexts_for(kind, 4)
    for space in ("observation", "actions"):
        found = optimize(
            policy, on=contexts, space=space, length=2, budget=24, restarts=1, epsilon=0.3
        )
        assert (found.searched.found >= found.searched.unedited - 1e-5).all()
        assert found.in_bits == (kind == "gaussian")
    assert np.abs(found.inputs).max() <= 1.0


def test_what_a_model_cannot_do_is_one_line() -> None:
    policy, contexts = small("numbers")[0], contexts_for("numbers", 2)
    for changes, named in (
        ({"objective": "return"}, "predicts no return"),
        ({"null": True}, "the null token stands where returns would"),
        ({"want": "1,2,3"}, "has 3 number"),
        ({"want": "least"}, "of one category"),
        ({"want": "high"}, "is no action"),
        ({"space": "actions", "length": 4}, "step\\(s\\) before its last"),
        ({"space": "actions", "method": "greedy", "length": 1}, "of tokens"),
    ):
        steered = policy
        if changes.get("null"):
            options = policy.options.changed({"null": True})
            steered = ReturnConditionedPolicy(policy.params, policy.spec, options)
        with pytest.raises(ValueError, match=named):
            optimize(steered, on=contexts, budget=12, **changes)
    with pytest.raises(ValueError, match="episodes have no gradient"):
        optimize(policy, objective="rollouts", method="gradient")


def test_a_predicted_return_is_an_objective() -> None:
    policy, contexts = small("predicts")[0], contexts_for("predicts", 3)
    found = optimize(
        policy, on=contexts, objective="return", space="observation", budget=30, restarts=1
    )
    assert (found.searched.found > found.searched.unedited).all()


def test_a_prefix_acts_by_the_cache_as_by_the_whole_window() -> None:
    policy, _ = small("numbers")
    vectors = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    params, spec = with_prefix(policy.params, policy.spec, vectors)
    actions = []
    for recompute in (False, True):
        options = policy.options.changed({"deterministic": True, "recompute": recompute})
        other = ReturnConditionedPolicy(params, spec, options)
        other.reset([3.0, 5.0])
        rng, done = np.random.default_rng(1), []
        for _ in range(4):
            done.append(other.act(rng.normal(3.0, 2.0, (2, 3)).astype(np.float32)))
            other.observe(np.ones(2))
        actions.append(np.array(done))
    np.testing.assert_allclose(*actions, atol=1e-5)
    with pytest.raises(ValueError, match="has a prefix of 3"):
        with_prefix(params, spec, vectors)
    with pytest.raises(ValueError, match="give \\(n, 8\\)"):
        with_prefix(policy.params, policy.spec, vectors[:, :4])
