"""Acting options are checked when they are made, and a card says all of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tiny import make_config

from dt.acting.options import (
    AS_TRAINED,
    CARD_KEYS,
    MEASURED_KEYS,
    ActingOptions,
    fields_of_card,
    file_words,
    title_words,
)
from dt.model.heads import ReturnChoice

BINS = make_config(layout="observation-return-action").model
EXPECTILE = dataclasses.replace(BINS, return_head="expectile", return_expectile=0.9)


def test_a_change_that_is_no_option_is_named_with_the_nearest() -> None:
    changed = AS_TRAINED.changed({"top_p": 0.5, "deterministic": True})
    assert changed == ActingOptions(top_p=0.5, deterministic=True)
    with pytest.raises(TypeError, match="no acting option 'temprature'; did you mean 'temperat"):
        AS_TRAINED.changed({"temprature": 0.5})


@pytest.mark.parametrize(
    ("values", "message"),
    [({"temperature": 0.0}, "temperature is 0.0"), ({"top_p": 1.5}, "top_p is 1.5")],
)
def test_what_nothing_can_be_drawn_by_is_refused_at_once(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ActingOptions(**values)


def test_every_option_changes_the_card_by_its_own_entry() -> None:
    """A new field that no card tells of fails here."""
    usual = AS_TRAINED.to_card()
    others = ActingOptions(True, 0.5, 0.9, True, False, True, ReturnChoice(3.0), True, "clamp")
    guided = ActingOptions(guidance=1.5, guidance_enough=6.0, enough_below=0.05)
    assert (*others.to_card(), "guidance", "asked", "steer") == CARD_KEYS
    assert set(MEASURED_KEYS) < set(CARD_KEYS)
    assert tuple(usual) == tuple(
        key for key in CARD_KEYS if key not in ("past_end", "guidance", "asked", "steer")
    )
    told = []
    for each in (others, guided, ActingOptions(asked=True), ActingOptions(steer="x.steer")):
        back = ActingOptions(**fields_of_card(each.to_card()) | {"expert": each.expert})
        assert back == dataclasses.replace(each, guidance=each.guidance_numbers[0])
    for field in dataclasses.fields(ActingOptions):
        of_guidance = field.name in ("guidance", "guidance_enough", "enough_below")
        other = guided if of_guidance else dataclasses.replace(others, null=field.name == "null")
        own = {"asked": True, "steer": "x.steer"}
        new = {field.name: own.get(field.name, getattr(other, field.name))}
        needed = {"guidance": 2.0} if field.name == "enough_below" else {}
        changed = AS_TRAINED.changed(needed | new)
        assert changed != AS_TRAINED
        told += [key for key, value in changed.to_card().items() if value != usual.get(key)]
    assert sorted(told) == sorted((*CARD_KEYS, "guidance", "guidance"))


def test_a_card_says_what_its_expert_chose_by() -> None:
    options = ActingOptions(expert=ReturnChoice(3.0, 2))
    assert options.return_expectile(BINS) is None
    assert options.to_card()["expert"] == {"kappa": 3.0, "num_samples": 2, "top_p": 1.0}
    expectile = options.return_expectile(EXPECTILE)
    assert options.to_card(expectile)["expert"] == {"expectile": 0.9}
    assert AS_TRAINED.return_expectile(EXPECTILE) is None


def test_what_happens_past_the_end_is_said_where_it_is_not_an_error() -> None:
    usual, clamped = AS_TRAINED.to_card(), ActingOptions(past_end="clamp").to_card()
    assert "past_end" not in usual and clamped["past_end"] == "clamp"
    assert file_words(usual) == [] and file_words(clamped) == ["past-end-clamp"]
    assert title_words(clamped) == ["positions clamped"]
    assert fields_of_card(usual)["past_end"] == "error"
    ActingOptions(past_end="clamp").check_timestep(7, 6)
    AS_TRAINED.check_timestep(5, 6)
    with pytest.raises(ValueError, match="timestep 6 is past the longest this model knows, 6; "):
        AS_TRAINED.check_timestep(6, 6)
