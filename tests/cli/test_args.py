"""Are words found wherever they stand on a command line, and mistakes told whole?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
import tyro

from dt.cli.args import parse_args


@dataclass(frozen=True)
class Inner:
    width: int = 1

    def __post_init__(self) -> None:
        if self.width < 0:
            raise ValueError(f"inner.width is {self.width}, which is too few")


@dataclass(frozen=True)
class Config:
    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    numbers: list[int] = field(default_factory=list)
    count: int = 1
    kind: Literal["one", "two"] = "one"
    option: Annotated[str, tyro.conf.arg(aliases=["--other"])] = ""
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if 1 / self.count < 0.2:
            raise ValueError(f"count is {self.count}, which is too many")


@dataclass(frozen=True)
class Needing:
    out: str


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


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--kind other", "--kind is other; it must be one of one, two; see script.py --help"),
        ("--count", "--count lacks a value, or has one that it cannot take; see script.py --help"),
        ("--count 9", "count is 9, which is too many; see script.py --help"),
        ("--othr=1", "Unrecognized options: --othr=1; did you mean --other?; see script.py --help"),
        ("--inner.wdth 1", "Unrecognized options: --inner.wdth, 1; did you mean --inner.width?"),
        ("--inner.width -3", "inner.width is -3, which is too few; see script.py --help"),
    ],
)
def test_a_mistake_is_one_line_with_its_flag_and_value(line: str, said: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(line)
    assert str(error.value).startswith(said) and "\n" not in str(error.value)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="^missing: --out; see script.py --help$"):
        parse_args(Needing, [], "script.py")


def test_a_type_s_own_function_s_faults_are_not_taken_for_the_user_s() -> None:
    with pytest.raises(ZeroDivisionError):
        parse("--count 0")
