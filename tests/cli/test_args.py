"""Are words found wherever they stand on a command line, and mistakes told whole?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pytest
import tyro

from dt.cli.args import parse_args


@dataclass(frozen=True)
class Config:
    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    numbers: list[int] = field(default_factory=list)
    count: int = 1


def parse(line: str) -> Config:
    return parse_args(Config, line.split(), "script.py")


def test_words_need_not_stand_together() -> None:
    assert parse("a b --count 3") == Config(("a", "b"), [], 3)
    assert parse("a --count 3 b") == Config(("a", "b"), [], 3)
    assert parse("a --count 3 b --numbers 1 2") == Config(("a", "b"), [1, 2], 3)
    assert parse("--count 3 a") == Config(("a",), [], 3)
    # A word that is also a flag's value is taken from where it has no place.
    assert parse("1 --numbers 1 --count 2 1") == Config(("1", "1"), [1], 2)


def test_what_has_no_place_is_told_whole_however_long() -> None:
    long = "runs/" + "x" * 120
    with pytest.raises(ValueError, match=f"^Unrecognized options: {long}, --bad, c; see script.py"):
        parse(f"a --count 3 {long} --bad c")
    with pytest.raises(ValueError, match="Unrecognized options: --cuont, 3; did you mean --count"):
        parse("--cuont 3")
    with pytest.raises(ValueError, match="--count: invalid literal"):
        parse("a b --count x")
