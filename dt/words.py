"""Words of messages: the name that a misspelt one was meant for, and flags as Python arguments."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Find the known name that a misspelt one was most likely meant for."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def there_are(name: str, known: Iterable[str]) -> str:
    """Say for an unknown name which is near it, if one is, and which there are."""
    known = list(known)
    near = nearest(name, known)
    hint = f"did you mean {near!r}? " if near else ""
    return f"{hint}there are {', '.join(known)}"


# What is a command as a whole is one in Python too, and stays: `dt evaluate RUN --flag`.
_COMMAND = r"`[^`]*`|\b(?:\w+\.py|dt (?:train|evaluate|data|compare))(?: [A-Z_]+| --[\w.-]+)+"
_FLAG = r"--(?P<flag>[a-z][\w-]*(?:\.[\w-]+)*)(?: (?P<id>none|[\w/.:-]+-v\d+)\b)?"
_WORDS = re.compile(f"(?P<command>{_COMMAND})|{_FLAG}")
_ENVIRONMENT = ("env", "evaluation.env")
_TRUE = ("calibrated", "deterministic", "profile", "recompute", "resume")


def as_arguments(message: str) -> str:
    """Say a message of the commands to a Python program: flags become arguments.

    >>> as_arguments("name one with --evaluation.env, or train without --resume")
    'name one with env_id=, or train without resume=True'
    >>> as_arguments("give --model.max-timesteps")
    'give model.max_timesteps'
    """

    def in_python(found: re.Match[str]) -> str:
        flag, env_id = found["flag"], found["id"]
        if flag is None:
            return found[0]
        if flag in _ENVIRONMENT:
            named = message[found.end() : found.end() + 1] == ":" and env_id is None
            return "env_id" if named else f"env_id={env_id!r}" if env_id else "env_id="
        name = flag.replace("-", "_") + ("=True" if flag in _TRUE else "")
        return name if env_id is None else f"{name} {env_id}"

    return _WORDS.sub(in_python, message)


def says_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """Let what a function raises name Python's arguments where it names flags of the commands."""

    @functools.wraps(function)
    def said(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except (ValueError, TypeError, OSError, KeyboardInterrupt) as error:
            if len(error.args) == 1 and isinstance(error.args[0], str):
                error.args = (as_arguments(error.args[0]),)
            raise

    return said
