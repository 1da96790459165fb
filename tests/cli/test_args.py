"""Are words found wherever they stand on a command line, and mistakes told whole?"""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_type_hints

import pytest
import tyro

from dt.cli.args import flags_of, parse_args
from dt.cli.collect import CollectConfig
from dt.cli.compare import CompareConfig
from dt.cli.data import CardConfig, ConvertConfig
from dt.cli.evaluate import EvaluateConfig
from dt.cli.export import ExportConfig
from dt.config import TrainConfig


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


def help_texts(kind: type) -> Iterator[tuple[str, str]]:
    """The text under each field of a dataclass and of those within it; empty without one."""
    statement = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(statement, ast.ClassDef)
    body = statement.body
    hints = get_type_hints(kind)
    for node, following in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign):
            continue
        name = ast.unparse(node.target)
        if dataclasses.is_dataclass(hints[name]):
            yield from ((f"{name}.{field}", text) for field, text in help_texts(hints[name]))
            continue
        text = getattr(getattr(following, "value", None), "value", "")
        yield name, text if isinstance(text, str) else ""


@pytest.mark.parametrize(
    "kind",
    [
        TrainConfig,
        CompareConfig,
        EvaluateConfig,
        CollectConfig,
        CardConfig,
        ConvertConfig,
        ExportConfig,
    ],
)
def test_every_flag_says_what_it_is(kind: type) -> None:
    texts = dict(help_texts(kind))
    assert len(texts) >= 4
    assert not [name for name, text in texts.items() if len(text.split()) < 3]
    assert not [name for name, text in texts.items() if text.startswith("Of ")]  # of what?
    assert {f"--{name.replace('_', '-')}" for name in texts} <= set(flags_of(kind))
