"""A guided policy acts by both of its passes, each with a past of its own."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from guided import PARAMS, SPEC, played, policy_with

from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.spec.serialize import spec_from_json, spec_to_json


@pytest.mark.parametrize("recompute", [False, True])
def test_it_acts_by_what_both_policies_would_have_done(recompute: bool) -> None:
    """The unconditional pass sees no return in all of its past, as the unconditional policy."""
    told = played(policy_with(recompute=recompute), [3.0, 5.0])
    untold = played(policy_with(recompute=recompute, null=True), [3.0, 5.0])
    guided = played(policy_with(recompute=recompute, guidance=1.7), [3.0, 5.0])
    assert np.abs(told - untold).max() > 1e-3
    wanted = np.clip(untold + 1.7 * (told - untold), -2.0, 2.0)
    np.testing.assert_allclose(guided, wanted, atol=2e-5)


def test_a_weight_of_none_is_the_unconditional_policy_to_the_last_bit() -> None:
    untold = played(policy_with(recompute=False, null=True), [3.0, 5.0])
    np.testing.assert_array_equal(played(policy_with(guidance=0.0), [3.0, 5.0]), untold)
    told = played(policy_with(recompute=False), [3.0, 5.0])
    same = policy_with(guidance=1.0)
    assert not same.program.is_guided  # one pass, as ever
    np.testing.assert_array_equal(played(same, [3.0, 5.0]), told)


def test_another_weight_counts_once_all_that_was_asked_for_has_come() -> None:
    """Asked for 0.1 it has come at the start; of 9 something is left after six steps."""
    highest = SPEC.return_range[1]
    assert 0.1 < 0.03 * highest < 3.0

    def with_weights(weight: float, enough: float) -> np.ndarray:
        weights = np.tile(np.array([weight, enough, 0.03], np.float32), (2, 1))
        return played(policy_with(guides_each_row=True), [0.1, 9.0], weights)

    switching, always, before = (
        with_weights(1.5, 4.0),
        with_weights(4.0, 4.0),
        with_weights(1.5, 1.5),
    )
    np.testing.assert_array_equal(switching[:, 0], always[:, 0])
    np.testing.assert_array_equal(switching[:, 1], before[:, 1])
    assert np.abs(always - before).max() > 1e-3


def test_each_row_may_bring_weights_of_its_own() -> None:
    weights = np.array([[1.7, 1.7, 0.03], [1.0, 1.0, 0.0]], np.float32)
    rows = played(policy_with(guides_each_row=True), [3.0, 5.0], weights)
    guided = played(policy_with(recompute=False, guidance=1.7), [3.0, 5.0])
    np.testing.assert_allclose(rows[:, 0], guided[:, 0], atol=1e-6)
    np.testing.assert_allclose(
        rows[:, 1], played(policy_with(recompute=False), [3.0, 5.0])[:, 1], atol=1e-6
    )
    with pytest.raises(ValueError, match="guides_each_row"):
        played(policy_with(recompute=False), [3.0, 5.0], weights)


def test_what_cannot_be_guided_says_why() -> None:
    hidden = dataclasses.replace(SPEC, model=dataclasses.replace(SPEC.model, return_dropout=0.0))
    with pytest.raises(ValueError, match=r"act without a return too.*--model.return-dropout"):
        ReturnConditionedPolicy(PARAMS, hidden, ActingOptions(guidance=2.0))
    cloning = dataclasses.replace(
        SPEC, model=dataclasses.replace(SPEC.model, layout="observation-action")
    )
    with pytest.raises(ValueError, match="takes no return whose effect"):
        ReturnConditionedPolicy(PARAMS, cloning, ActingOptions(guidance=2.0))
    with pytest.raises(ValueError, match="leave one of the two out"):
        ActingOptions(guidance=2.0, null=True)
    with pytest.raises(ValueError, match="guidance is -1"):
        ActingOptions(guidance=-1.0)


def test_a_guided_policy_says_so() -> None:
    text = repr(policy_with(guidance=1.5, guidance_enough=6.0))
    assert "guidance 1.5-then-6-below-3%" in text


def test_a_run_s_own_weights_hold_unless_others_are_said() -> None:
    spec = dataclasses.replace(SPEC, guidance=(1.5, 6.0))

    def acting(**options: object) -> tuple[float, float, float]:
        policy = ReturnConditionedPolicy(PARAMS, spec, ActingOptions(**options))  # type: ignore[arg-type]
        return policy.options.guidance_numbers

    assert acting() == (1.5, 6.0, 0.03)
    assert acting(enough_below=0.1) == (1.5, 6.0, 0.1)
    assert acting(guidance=2.0) == (2.0, 2.0, 0.03)
    assert acting(guidance=1.0) == acting(null=True) == (1.0, 1.0, 0.03)
    assert policy_with(recompute=False).options.guidance_numbers == (1.0, 1.0, 0.03)


def test_a_run_s_own_weights_are_kept_in_its_spec() -> None:
    spec = dataclasses.replace(SPEC, guidance=(1.5, 6.0))
    written = json.loads(json.dumps(spec_to_json(spec)))
    assert spec_from_json(written).guidance == (1.5, 6.0)
    assert spec_from_json(spec_to_json(SPEC)).guidance is None
    assert "guidance" not in spec_to_json(SPEC)  # as runs before had it
    for wrong in ([1.5], "1.5", [1.5, -1.0], [1.5, True, 2.0], [float("nan"), 1.0]):
        with pytest.raises(ValueError, match="two finite weights"):
            spec_from_json(written | {"guidance": wrong})
