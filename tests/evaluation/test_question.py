"""Does a card's name say what was asked, and differ where the question does?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dt.acting.options import ActingOptions
from dt.evaluation.question import LONGEST, Question, name_of_runs
from dt.model.heads import ReturnChoice


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "last-p5-p95x7-e50-s0"),
        ({"targets": ("-100", "100.0", "p50")}, "last--100_100_p50-e50-s0"),
        ({"checkpoint": "best", "seed": 3}, "best-p5-p95x7-e50-s3"),
        ({"checkpoint": "0120"}, "update-120-p5-p95x7-e50-s0"),
        ({"options": ActingOptions(null=True)}, "last-p5-p95x7-null-e50-s0"),
        ({"options": ActingOptions(deterministic=True)}, "last-p5-p95x7-deterministic-e50-s0"),
        ({"options": ActingOptions(clip=False), "ood": 1.5}, "last-p5-p95x7-ood1.5-e50-s0"),
        (
            {"options": ActingOptions(recompute=True), "on_device": True},
            "last-p5-p95x7-recompute-on-device-e50-s0",
        ),
        ({"env_id": "module:Other-v1"}, "last-p5-p95x7-module-Other-v1-e50-s0"),
        (
            {"targets": ("expert",), "options": ActingOptions(expert=ReturnChoice(10.0))},
            "last-expert-kappa-10-e50-s0",
        ),
    ],
)
def test_a_name_says_what_was_asked(changes: dict[str, Any], name: str) -> None:
    assert Question(**{"targets": ("p5:p95:7",), "episodes": 50, **changes}).name == name


def test_the_same_question_has_one_name_and_another_another() -> None:
    assert Question(("50", "1e2"), 3).name == Question(("50.0", "100"), 3).name
    many = tuple(str(target) for target in range(30))
    long, other = Question(many, 3).name, Question((*many[:-1], "99"), 3).name
    assert long != other and len(long) < LONGEST and long.startswith("last-30-targets-")


def test_folders_of_one_name_in_two_places_are_told_apart(tmp_path: Path) -> None:
    first, second = (name_of_runs([tmp_path / place / "dt-0"]) for place in "ab")
    assert first != second and first.startswith("dt-0-")
    many = name_of_runs([tmp_path / f"a-long-name-{number}" for number in range(5)])
    assert many.startswith("5-runs-")
