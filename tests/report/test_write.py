"""Is a card kept as JSON that parses and as Markdown, under a name that says how it acted?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cards import make_card

from dt.report.write import card_name, write_card


def test_a_card_is_kept_as_json_that_reads_back_the_same(tmp_path: Path) -> None:
    card = make_card()
    written = write_card(card, tmp_path)
    assert [file.name for file in written] == ["card.json", "card.md", "calibration.png"]
    assert json.loads((tmp_path / "card.json").read_text()) == card.to_json()


def test_a_card_is_strict_json_even_where_nothing_varies() -> None:
    card = make_card(gain=0.0, targets=(5.0,))
    json.dumps(card.to_json(), allow_nan=False)
    flat = make_card(gain=0.0)
    json.dumps(flat.to_json(), allow_nan=False)
    assert flat.calibration.slope.value == 0.0
    single = make_card(episodes=1)
    json.dumps(single.to_json(), allow_nan=False)
    assert single.targets[0].return_ci95 is None


def test_a_name_stands_before_all_files(tmp_path: Path) -> None:
    write_card(make_card(), tmp_path, "best")
    names = ["best-calibration.png", "best-card.json", "best-card.md"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, ""),
        ({"null": True}, "null"),
        ({"calibrated": True, "deterministic": True}, "deterministic-calibrated"),
        ({"clip": False}, "ood"),
        ({"recompute": True, "on_device": True}, "recompute-on-device"),
        ({"selection": "best"}, "update-1234"),
        ({"env_id": "module:Other-v1", "selection": "chosen"}, "module-Other-v1-update-1234"),
    ],
)
def test_only_the_headline_is_called_card(changes: dict[str, Any], name: str) -> None:
    assert card_name(make_card(**changes), "Planted-v0") == name


def test_markdown_is_a_table_with_the_same_numbers_and_where_they_come_from(
    tmp_path: Path,
) -> None:
    card = make_card(gain=0.5)
    text = write_card(card, tmp_path)[1].read_text()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table[0] == "| target | achieved | 95 % interval | std | length | normalised |"
    assert table[1] == "| ---: | ---: | ---: | ---: | ---: | ---: |"
    low, high = card.targets[2].return_ci95
    std = card.targets[2].return_std
    assert table[4] == f"| 8.00 | 4.00 | {low:.2f} to {high:.2f} | {std:.2f} | 12 | 40.0 |"
    assert f"**{card.verdict}**" in text
    assert "`evaluate.py planted`, commit 0123456789ab, seed 0, python 3.11, numpy 2" in text
