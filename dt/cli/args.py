"""How do the words of a command line become a configuration, and a mistake one line?"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from typing import Any, TypeVar

import tyro

Config = TypeVar("Config")


def parse_args(config: type[Config], args: list[str] | None, prog: str, **options: Any) -> Config:
    """tyro's command line for a dataclass, whose boxed explanations become one line.

    Args:
        options: for `tyro.cli`, such as default or description.

    Raises:
        ValueError: for a flag or a value that is not allowed, saying which.
        SystemExit: after --help.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(config, args=args, prog=prog, **options)
    except SystemExit as stop:
        if not stop.code:
            sys.stderr.write(said.getvalue())
            raise
    words = list(sys.argv[1:] if args is None else args)
    strangers = _strangers(config, words, prog, options)
    together = _together(words, strangers)
    if together != words:
        return parse_args(config, together, prog, **options)
    raise ValueError(f"{_one_line(said.getvalue(), strangers)}; see {prog} --help")


def _strangers(config: Any, words: list[str], prog: str, options: dict[str, Any]) -> list[str]:
    """The words that tyro has no place for."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return tyro.cli(config, args=words, prog=prog, return_unknown_args=True, **options)[1]
    except SystemExit:
        return []  # something else is wrong


def _together(words: list[str], strangers: list[str]) -> list[str]:
    """Words without a flag moved to the others at the front: tyro takes them at one place only."""
    if any(word.startswith("-") for word in strangers):
        return words
    rest = list(reversed(words))
    for word in reversed(strangers):
        rest.remove(word)  # the last of these, for the first may be a flag's value
    rest.reverse()
    flags = [number for number, word in enumerate(rest) if word.startswith("-")] or [len(rest)]
    return [*rest[: flags[0]], *strangers, *rest[flags[0] :]]


def _one_line(box: str, strangers: list[str]) -> str:
    """The first part of tyro's box, and the flag that it thinks was meant.

    Args:
        strangers: words that it has no place for, which it breaks where its lines end.
    """
    lines = [line.strip("│ \t") for line in box.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("╭", "╰"))]
    if "╭" not in box:  # a terminal without line drawing: the title and a rule stand first
        lines = lines[2:]
    rules = [i for i, line in enumerate(lines) if line.startswith(("─", "---"))] or [len(lines)]
    text = " ".join(lines[: rules[0]])
    if strangers:
        text = f"Unrecognized options: {', '.join(strangers)}"
    if lines[rules[0] + 1 :][:1] == ["Perhaps you meant:"]:
        text += f"; did you mean {lines[rules[0] + 2]}?"
    # The check of a whole dataclass names the field itself; the class's name says nothing more.
    return re.sub(r"^Error parsing (\w+Config|[a-z.]+): ", "", text).rstrip(".")
