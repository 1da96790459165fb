"""Does a card come back from its file as it was written, and is a wrong file named?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cards import make_card, make_runs

from dt.evaluation.aggregate import aggregate_cards
from dt.evaluation.card import AnyCard, Card, card_from_json
from dt.evaluation.comparison import read_card
from dt.evaluation.of_run import request_map_of
from dt.evaluation.parts import Estimate
from dt.model.heads import ReturnChoice

CHOICE = ReturnChoice(kappa=3.0, num_samples=2)


def every_kind() -> dict[str, AnyCard]:
    request_map = request_map_of(make_card(gain=0.5, targets=(2.0, 8.0)))
    chosen = [make_card(targets=(9.0,), seed=seed, expert=CHOICE) for seed in (0, 1)]
    return {
        "one run": make_card(),
        "one episode": make_card(episodes=1),
        "one target": make_card(targets=(5.0,), reference=None),
        "beyond": make_card(targets=(2.0, 8.0, 14.0), clip=False),
        "calibrated": make_card(targets=(2.0, 5.0), request_map=request_map),
        "null": make_card(null=True, env_kwargs={"limits": [1, {"x": None}]}),
        "clamped": make_card(past_end="clamp"),
        "expert": chosen[0],
        "expectile": make_card(expert=ReturnChoice(), return_expectile=0.9, commit=None),
        "runs": aggregate_cards(*make_runs(0.0, 0.1, -4.0)),
        "expert runs": aggregate_cards(chosen, ["a", "b"]),
    }


@pytest.mark.parametrize("kind", every_kind())
def test_a_card_comes_back_from_its_file_as_it_was(kind: str) -> None:
    card = every_kind()[kind]
    text = json.dumps(card.to_json())
    again = card_from_json(json.loads(text))
    assert again == card and type(again) is type(card)
    assert json.dumps(again.to_json()) == text


def test_the_keys_of_a_file_and_their_order_are_kept() -> None:
    """Other programs read card.json."""
    values = every_kind()["calibrated"].to_json()
    assert list(values) == [
        *"env_id env_kwargs checkpoint_step selection baseline deterministic temperature".split(),
        *"top_p expert calibrated clipped recomputed on_device layout prefix episodes".split(),
        *"seed wall_seconds env_steps_per_second reference targets calibration beyond".split(),
        *"verdict dataset versions command commit".split(),
    ]
    clamped = list(every_kind()["clamped"].to_json())
    assert clamped[clamped.index("recomputed") + 1] == "past_end"
    assert list(values["targets"][0]) == [
        *"target ood return_mean return_std return_ci95 normalized_score length_mean".split(),
        *"episode_returns request reachable".split(),
    ]
    assert list(values["calibration"]) == [
        *"slope slope_ci95 pearson spearman mae_over_range monotone coverage verdict".split()
    ]
    assert "request" not in make_card().to_json()["targets"][0]
    runs = every_kind()["expert runs"].to_json()
    assert list(runs) == [
        *"env_id env_kwargs baseline deterministic temperature top_p expert calibrated".split(),
        *"clipped recomputed on_device layout episodes reference dataset versions command".split(),
        *"commit selection runs wall_seconds env_steps_per_second targets calibration".split(),
        *"beyond verdict expectation".split(),
    ]
    assert list(runs["targets"][0])[:4] == ["target", "ood", "return_iqm", "return_ci95"]
    assert runs["expert"] == {"kappa": 3.0, "num_samples": 2, "top_p": 1.0}
    assert every_kind()["expectile"].to_json()["expert"] == {"expectile": 0.9}


def test_a_card_that_is_older_than_some_keys_is_read() -> None:
    values = make_card().to_json()
    for key in ("temperature", "top_p", "expert", "recomputed", "prefix"):
        del values[key]
    assert Card.from_json(values) == make_card()


def test_scores_that_nobody_knows_here_are_kept() -> None:
    values = make_card().to_json()
    values["calibration"] |= {"regret": 2.5, "regret_ci95": [2.0, 3.0], "mood": "sunny"}
    card = Card.from_json(values)
    assert card.calibration is not None
    assert card.calibration.scores["regret"] == Estimate(2.5, (2.0, 3.0))
    again = card.to_json()["calibration"]
    assert again == values["calibration"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": None}, "targets: "),
        ({"expert": 7}, "acting.expert: "),
        ({"calibration": 7}, "calibration: it must hold scores and a verdict"),
        ({"targets": [{}]}, r"targets\[0\].target: required field missing"),
        ({"seed": "7"}, "seed: '7' is no int"),
        ({"verdict": 7}, "verdict: 7 is no str"),
        ({"temperature": "hot"}, "acting.temperature: 'hot' is no float"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"reference": {"source": "x", "low": 1.0, "high": 0.0}}, "reference: x: reference 1.0"),
        (
            {"calibration": {"slope": [1], "verdict": ""}},
            r"calibration.slope: \[1\] is no score",
        ),
        ({"dataset": {"id": "x"}}, "dataset.episodes: required field missing"),
    ],
)
def test_a_damaged_card_is_named_with_its_key(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    file = tmp_path / "card.json"
    file.write_text(json.dumps(make_card().to_json() | change))
    with pytest.raises(ValueError, match=message) as caught:
        read_card(file)
    assert str(caught.value).startswith(f"{file}: is no card of this version: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["env_kwargs", "layout", "clipped", "dataset"])
def test_a_card_without_a_key_that_all_have_is_named(key: str) -> None:
    values = make_card().to_json()
    del values[key]
    with pytest.raises(ValueError, match=f"it has no {key}"):
        card_from_json(values)
