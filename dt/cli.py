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
        if stop.code:
            raise ValueError(f"{_one_line(said.getvalue())}; see {prog} --help") from None
        sys.stderr.write(said.getvalue())
        raise


def _one_line(box: str) -> str:
    """The first part of tyro's box, and the flag that it thinks was meant."""
    lines = [line.strip("│ \t") for line in box.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("╭", "╰"))]
    if "╭" not in box:  # a terminal without line drawing: the title and a rule stand first
        lines = lines[2:]
    rules = [i for i, line in enumerate(lines) if line.startswith(("─", "---"))] or [len(lines)]
    text = " ".join(lines[: rules[0]])
    if lines[rules[0] + 1 :][:1] == ["Perhaps you meant:"]:
        text += f"; did you mean {lines[rules[0] + 2]}?"
    # The check of a whole dataclass names the field itself; the class's name says nothing more.
    return re.sub(r"^Error parsing (\w+Config|[a-z.]+): ", "", text).rstrip(".")
