"""The command line of `train.py`."""

from __future__ import annotations

import difflib

from dt.cli.args import parse_args
from dt.config import TrainConfig
from dt.config.presets import DEFAULT, PRESETS, with_recipe, with_size


def parse_train_args(args: list[str]) -> tuple[str, TrainConfig]:
    """`[PRESET] [--flags]` -> the preset's name and the configuration.

    Raises:
        ValueError: for an unknown preset, naming the nearest, and for flags and values that are
            not allowed.
        SystemExit: after --help.
    """
    preset = DEFAULT
    if args and not args[0].startswith("-"):
        preset, args = args[0], args[1:]
    if preset not in PRESETS:
        near = difflib.get_close_matches(preset, PRESETS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown preset {preset!r}; {hint}there are {', '.join(PRESETS)}")
    description = (
        "train.py [PRESET] [--data SOURCE] [--run-dir DIR] [--num-steps N] [--seed S] [--resume] "
        f"[--dotted.override V]. Presets: {', '.join(PRESETS)} ({DEFAULT} is the default and makes "
        "its own data). The defaults below are the preset's, or those of its --model.recipe and "
        "--model.size."
    )
    default = with_recipe(PRESETS[preset], _last_value(args, "--model.recipe"))
    default = with_size(default, _last_value(args, "--model.size"))
    return preset, parse_args(
        TrainConfig, args, "train.py", default=default, description=description
    )


def _last_value(args: list[str], flag: str) -> str:
    """The value of a flag that decides the defaults of others; empty without it."""
    value = ""
    for word, following in zip(args, [*args, ""][1:], strict=True):
        name, _, given = word.partition("=")
        if name == flag:
            value = given or following
    return value
