"""Is a card kept as JSON that parses and as Markdown, beside others that stay as they are?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cards import make_card

from dt.evaluation.comparison import LATEST, read_card
from dt.report.write import write_card, write_evaluation


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


def test_an_evaluation_never_touches_another_card(tmp_path: Path) -> None:
    write_card(make_card(), tmp_path)
    own = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    first = write_evaluation(make_card(gain=0.5), tmp_path, "last-p5-e4-s0")
    assert [str(f.relative_to(tmp_path)) for f in first] == [
        f"cards/last-p5-e4-s0.{kind}" for kind in ("json", "md", "png")
    ]
    assert read_card(tmp_path / LATEST) == make_card(gain=0.5)
    write_evaluation(make_card(gain=0.1), tmp_path, "last-p50-e4-s0")
    assert read_card(tmp_path / LATEST) == make_card(gain=0.1)
    assert read_card(first[0]) == make_card(gain=0.5)
    assert {name: (tmp_path / name).read_bytes() for name in own} == own
    assert read_card(tmp_path) == make_card()  # of a run: the one that training made
    (tmp_path / "card.json").unlink()
    assert read_card(tmp_path) == make_card(gain=0.1)


def test_the_newest_card_is_found_where_there_are_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("links are not supported")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    for gain in (0.5, 0.1):
        write_evaluation(make_card(gain=gain), tmp_path, f"gain-{gain}")
        assert not (tmp_path / LATEST).is_symlink()
        assert read_card(tmp_path) == read_card(tmp_path / LATEST) == make_card(gain=gain)


def test_a_folder_moves_with_its_link(tmp_path: Path) -> None:
    write_evaluation(make_card(), tmp_path / "run", "a")
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    assert read_card(tmp_path / "elsewhere") == make_card()


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


def test_where_nothing_can_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "cards").write_text("in the way")
    with pytest.raises(OSError, match="cards: the card cannot be written there .* with --out, or"):
        write_evaluation(make_card(), tmp_path, "a")
