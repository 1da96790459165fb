"""What every verb says: one rule for verdicts, counts, and weights that are held fixed by hash."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from walk import make_policy

from dt import steering
from dt.evaluation.parts import Estimate
from dt.steering.ask_options import AskOptions
from dt.steering.outcome import as_json, changed, paired_measure, verdict_of
from dt.steering.subject import Subject


@pytest.mark.parametrize(
    ("ends", "least", "verdict"),
    [
        ((0.01, 0.3), 0.0, "steers"),
        ((0.01, 0.3), 0.1, "cannot tell"),
        ((-0.2, 0.3), 0.0, "cannot tell"),
        ((-0.3, 0.0), 0.0, "ignores"),
        ((0.2, 0.3), 0.5, "ignores"),
        (None, 0.0, "cannot tell"),
        ((np.nan, np.nan), 0.0, "cannot tell"),
    ],
)
def test_a_verdict_is_where_the_interval_lies(
    ends: tuple[float, float] | None, least: float, verdict: str
) -> None:
    assert verdict_of(Estimate(0.1, ends), least) == verdict


def test_pairs_are_compared_as_pairs() -> None:
    rng = np.random.default_rng(0)
    controls = rng.normal(0, 10, 30)
    measure = paired_measure("x", controls + rng.normal(1.0, 0.1, 30), controls, "none")
    assert measure.effect.ci95 is not None and 0.9 < measure.effect.ci95[0] < 1.1
    assert measure.score - measure.control == pytest.approx(measure.effect.value)
    assert paired_measure("x", controls[:1], controls[:1], "none").effect.ci95 is None


def test_counts_are_kept_and_changed_weights_are_refused() -> None:
    subject = Subject.of(make_policy())
    ledger = subject.ledger()
    ledger.passes(5, 3)
    ledger.played(2, 20, passes_a_step=2)
    measure = paired_measure("x", np.arange(3.0), np.zeros(3), "none")
    outcome = ledger.close(subject.policy.params, "ask", measure, AskOptions(), "few")
    cost = outcome.cost
    assert (cost.forward, cost.backward, cost.env_steps, cost.episodes) == (45, 3, 20, 2)
    assert outcome.weights.before == outcome.weights.after and len(outcome.weights.before) == 64
    assert outcome.stem == "ask-few" and outcome.line().startswith(outcome.verdict)
    assert as_json(outcome)["options"]["budget"] == 700
    other = jax.tree.map(lambda x: x + 1, subject.policy.params)
    with pytest.raises(ValueError, match="weights changed while ask worked"):
        ledger.close(other, "ask", measure, AskOptions())


def test_options_are_changed_by_their_names_alone() -> None:
    assert changed(AskOptions(), {"budget": 9}).budget == 9
    with pytest.raises(TypeError, match="no option 'budgets'; did you mean 'budget'"):
        changed(AskOptions(), {"budgets": 9})
    with pytest.raises(ValueError, match="budget is 0"):
        changed(AskOptions(), {"budget": 0})


def test_verbs_are_functions_by_their_names() -> None:
    assert callable(steering.ask) and "ask" in dir(steering)
    with pytest.raises(AttributeError, match="no attribute 'aks'"):
        steering.aks  # noqa: B018
