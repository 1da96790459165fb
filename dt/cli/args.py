"""The words of a command line as a configuration, or one line that says what is wrong with them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import Protocol, TypeVar, get_type_hints

import tyro
from tyro import _errors as events

from dt.words import nearest

Config = TypeVar("Config")


class _Argument(Protocol):
    def display_name(self) -> str: ...


def parse_args(
    config: type[Config],
    args: list[str] | None,
    prog: str,
    *,
    default: Config | None = None,
    description: str | None = None,
) -> Config:
    """Parse a command line for a dataclass with tyro, whose boxed errors become one line.

    Args:
        args: the words; None: those that the process was started with.
        prog: the command, for errors and --help.
        default: whose fields stand for flags that are not given; None: the dataclass's own.
        description: stands at the top of --help; None: the dataclass's docstring.

    Raises:
        ValueError: for a flag or a value that is not allowed, saying which.
        SystemExit: after --help.
    """
    words = list(sys.argv[1:] if args is None else args)

    def refuse(event: events.ParseErrorEvent) -> None:
        if line := _one_line(event):
            raise ValueError(f"{line}; see {prog} --help") from None

    with events.on_parse_error(refuse):
        parsed, strangers = tyro.cli(
            config,
            args=words,
            prog=prog,
            default=tyro.MISSING_NONPROP if default is None else default,
            description=description,
            return_unknown_args=True,
        )
    if not strangers:
        return parsed
    together = _together(words, strangers)
    if together != words:
        return parse_args(config, together, prog, default=default, description=description)
    line = f"Unrecognized options: {', '.join(strangers)}"
    if near := nearest(strangers[0].partition("=")[0], flags_of(config)):
        line += f"; did you mean {near}?"
    raise ValueError(f"{line}; see {prog} --help")


def flags_of(config: type) -> Iterator[str]:
    """List the flags of a dataclass and of those within it."""
    hints = get_type_hints(config, include_extras=True)
    for field in dataclasses.fields(config):
        name = f"--{field.name.replace('_', '-')}"
        part = hints[field.name]
        if isinstance(part, type) and dataclasses.is_dataclass(part):
            yield from (f"{name}.{flag.removeprefix('--')}" for flag in flags_of(part))
        else:
            yield name
            for each in getattr(part, "__metadata__", ()):
                yield from getattr(each, "aliases", None) or ()


def _together(words: list[str], strangers: list[str]) -> list[str]:
    """Move words without a flag to the others at the front: tyro takes them at one place only."""
    if any(word.startswith("-") for word in strangers):
        return words
    rest = list(reversed(words))
    for word in reversed(strangers):
        rest.remove(word)  # the last of these, for the first may be a flag's value
    rest.reverse()
    flags = [number for number, word in enumerate(rest) if word.startswith("-")] or [len(rest)]
    return [*rest[: flags[0]], *strangers, *rest[flags[0] :]]


def _one_line(event: events.ParseErrorEvent) -> str:
    """Say what is wrong and with which flag; empty for what tyro's own box shall explain."""
    match event:
        case events.InstantiationFailure(argument=argument, message=message):
            # The check of a whole dataclass names the field itself.
            return message if argument is None else f"{_name(argument)}: {message}"
        case events.InvalidChoice(argument=argument, value=value, choices=choices):
            return f"{_name(argument)} is {value}; it must be one of {', '.join(choices)}"
        case events.BadValue(argument=argument):
            return f"{_name(argument)} lacks a value, or has one that it cannot take"
        case events.MissingArgs(missing_arguments=missing):
            return f"missing: {', '.join(_name(each.arg) for each in missing)}"
    return ""


def _name(argument: _Argument) -> str:
    """Spell an argument as --help does, such as --count or RUN_DIR."""
    name = argument.display_name()
    return name if name.startswith("-") else name.replace("-", "_").upper()
