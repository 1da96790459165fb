"""What comes unasked stands on the card, and the verdict says where asking brings no more."""

from __future__ import annotations

import dataclasses

import gymnasium
import numpy as np
import pytest
from cards import make_card, shown
from guided import PARAMS, SPEC
from walk import Walk, make_policy

from dt.acting.ask_table import AskTable
from dt.acting.inputs import Inputs
from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.evaluation.card import Card
from dt.evaluation.controls import control_of, outdone, unconditional
from dt.evaluation.evaluate import evaluate_policy
from dt.evaluation.parts import Control, Measured

SEEN = np.array([0.0, 10.0])


def test_not_asking_outdoes_only_what_it_surely_brings_more_than() -> None:
    rng = np.random.default_rng(0)
    unasked = rng.normal(8.0, 1.0, 30)
    control = control_of(unasked, SEEN, rng)
    assert control.return_ci95 is not None
    assert control.return_ci95[0] < 8.0 < control.return_ci95[1]
    assert "asking for 9 brings less than not asking, 7.87" in outdone(
        control, 9.0, unasked - rng.uniform(0, 3, 30), rng
    )
    assert outdone(control, 9.0, unasked + rng.normal(0.0, 1.0, 30), rng) == ""
    assert outdone(control, 9.0, unasked + 2.0, rng) == ""
    alone = control_of(unasked[:1], SEEN, rng)
    assert alone.return_ci95 is None and outdone(alone, 9.0, unasked[:1] - 5.0, rng) == ""


def test_a_policy_without_an_unasked_one_has_no_control() -> None:
    def policy(**options: object) -> ReturnConditionedPolicy:
        return ReturnConditionedPolicy(PARAMS, SPEC, ActingOptions(**options))  # type: ignore[arg-type]

    unasked = unconditional(policy(guidance=3.0))
    assert unasked is not None and unasked.options.null and not unasked.options.is_guided
    assert unconditional(policy(null=True)) is None
    never = dataclasses.replace(SPEC, model=dataclasses.replace(SPEC.model, return_dropout=0.0))
    assert unconditional(ReturnConditionedPolicy(PARAMS, never)) is None


def test_a_card_with_control_and_budget_comes_back_as_it_was_and_shows_them() -> None:
    card = dataclasses.replace(
        make_card(),
        control=Control("unconditional", 4.5, (4.0, 5.0), (4.0, 5.0)),
        measured=Measured(693, 44000, 1.5, 9.5),
    )
    assert Card.from_json(card.to_json()) == card
    text = shown(card)
    assert "unasked (the null token): 4.5" in text
    assert "a table from 693 episodes; means from 1.50 to 9.50" in text
    assert "control" not in make_card().to_json()


@pytest.mark.slow
def test_an_evaluation_plays_the_control_on_the_targets_seeds() -> None:
    if "Walk-v0" not in gymnasium.registry:
        gymnasium.register("Walk-v0", Walk)
    policy = make_policy()
    table = AskTable.of(
        Inputs(np.array([2.0, 6.0]), np.array([[1.5, 1.5, 0.0], [1.0, 1.0, 0.0]])),
        np.array([3.0, 9.0]),
        np.zeros(2),
        np.zeros(2),
        np.full(2, 4),
        checkpoint_step=0,
        options=ActingOptions(),
        env_id="Walk-v0",
        env_kwargs={},
        measured={"episodes": 8, "steps": 50},
    )
    asked = ReturnConditionedPolicy(policy.params, policy.spec, ActingOptions(asked=True), table)

    def card_of(policy: ReturnConditionedPolicy, fitting: bool = False) -> Card:
        return evaluate_policy(
            policy,
            [3.0, 9.0],
            4,
            env_id="Walk-v0",
            env_kwargs={},
            seed=5,
            checkpoint_step=0,
            fitting=fitting,
        )

    card = card_of(asked)
    assert card.measured == Measured(8, 50, 3.0, 9.0)
    assert [row.request for row in card.targets] == [2.0, 6.0]
    alone = card_of(ReturnConditionedPolicy(policy.params, policy.spec, ActingOptions(null=True)))
    assert card.control is not None and alone.control is None
    np.testing.assert_allclose(card.control.returns, alone.targets[0].episode_returns, rtol=1e-5)
    assert card_of(policy, fitting=True).control is None
