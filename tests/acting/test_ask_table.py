"""The table gives the input that was measured to bring what is wanted, and holds for one policy."""

from __future__ import annotations

import json

import numpy as np
import pytest
from guided import PARAMS, SPEC, played, policy_with

from dt.acting.ask_table import AskTable
from dt.acting.inputs import Inputs
from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy

GUIDANCE = np.array([[1.7, 1.7, 0.03], [1.0, 1.0, 0.03], [3.0, 6.0, 0.1]])


ROW = {
    "request": 1.0,
    "guidance": [1.0, 1.0, 0.1],
    "achieved": 1.0,
    "deviation": 0.1,
    "spread": 1.0,
    "episodes": 4,
}


def table_of(
    achieved: list[float], deviation: list[float] | None = None, requests: list[float] | None = None
) -> AskTable:
    count = len(achieved)
    return AskTable.of(
        Inputs(np.array(requests or [3.0, 5.0, 8.0][:count]), GUIDANCE[:count]),
        np.array(achieved),
        np.array(deviation or [0.0] * count),
        np.zeros(count),
        np.full(count, 4),
        checkpoint_step=7,
        options=ActingOptions(),
        env_id="Walk-v0",
        env_kwargs={},
        measured={"episodes": 12, "steps": 60},
    )


def test_the_input_is_chosen_whose_mean_is_nearest_and_known() -> None:
    table = table_of([1.0, 4.0, 4.5])
    assert table.request_for(np.array([0.0, 3.0, 4.4])).tolist() == [3.0, 5.0, 8.0]
    unsure = table_of([1.0, 4.0, 4.5], [0.0, 0.0, 2.0])
    assert unsure.request_for(np.array([4.4])).tolist() == [5.0]
    assert table.interval == (1.0, 4.5)
    assert table.reaches(np.array([0.9, 1.0, 3.0, 4.6])).tolist() == [False, True, True, False]


def test_a_policy_that_asks_by_it_acts_by_the_input_of_each_row() -> None:
    asked = ReturnConditionedPolicy(PARAMS, SPEC, ActingOptions(asked=True), table_of([1.0, 4.0]))
    rows = played(asked, [1.2, 3.9])
    np.testing.assert_allclose(
        rows[:, 0], played(policy_with(recompute=False, guidance=1.7), [3.0, 5.0])[:, 0], atol=1e-6
    )
    np.testing.assert_allclose(
        rows[:, 1], played(policy_with(recompute=False), [3.0, 5.0])[:, 1], atol=1e-6
    )


def test_asking_anew_changes_the_weights_too() -> None:
    asked = ReturnConditionedPolicy(PARAMS, SPEC, ActingOptions(asked=True), table_of([1.0, 4.0]))
    asked.reset([1.0])
    asked.act(np.zeros((1, 3), np.float32))
    asked.ask([4.0])
    assert asked._state is not None and asked._state.guidance is not None
    np.testing.assert_allclose(np.asarray(asked._state.guidance), GUIDANCE[1:2])
    asked.act(np.zeros((1, 3), np.float32))
    assert asked.returns_to_go == pytest.approx(5.0)


def test_it_comes_back_from_its_file_as_it_was() -> None:
    table = table_of([1.0, 4.0, 4.5])
    back = AskTable.from_json(json.loads(json.dumps(table.to_json())))
    assert back.to_json() == table.to_json()
    np.testing.assert_array_equal(back.guidance, table.guidance)


def test_another_policy_or_environment_is_refused() -> None:
    table = table_of([1.0, 4.0])
    table.check(7, ActingOptions(asked=True))
    with pytest.raises(ValueError, match="whose checkpoint_step is 7, this one's is 8; measure ag"):
        table.check(8, ActingOptions(asked=True))
    with pytest.raises(ValueError, match="whose deterministic is False, this one's is True"):
        table.check(7, ActingOptions(asked=True, deterministic=True))
    with pytest.raises(ValueError, match="measured in Walk-v0"):
        table.check_environment("Other-v0", {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 9}, "has format 9"),
        ({"inputs": []}, "two or more"),
        ({"inputs": [{"request": 1.0}]}, "guidance"),
        ({"inputs": [ROW | {"episodes": float("nan")}] * 2}, "nan is no int"),
        ({"inputs": [ROW | {"guidance": [1.0, 1.0]}] * 2}, "guidance"),
        ({"inputs": [ROW | {"achieved": float("inf")}] * 2}, "achieved has a number that is not"),
        ({"acting": 1.0}, "acting"),
    ],
)
def test_what_is_no_table_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AskTable.from_json(table_of([1.0, 4.0]).to_json() | change)


def test_a_table_needs_options_that_ask_by_it() -> None:
    with pytest.raises(ValueError, match="give what belongs together"):
        ReturnConditionedPolicy(PARAMS, SPEC, ActingOptions(), table_of([1.0, 4.0]))
    with pytest.raises(ValueError, match="leave null, guidance and calibrated out"):
        ActingOptions(asked=True, guidance=2.0)
