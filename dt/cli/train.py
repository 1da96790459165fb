"""The command line of `train.py`: parse, prepare, fit, score, print."""

from __future__ import annotations

import dataclasses
import difflib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from dt.cli.args import parse_args
from dt.config import TrainConfig
from dt.config.presets import DEMO, OWN_DATA, PRESETS, preset_for, with_recipe, with_size
from dt.training.run_directory import asked_before

if TYPE_CHECKING:
    from dt.data import EpisodeDataset


def main(args: list[str], demos: Callable[[str], EpisodeDataset], prog: str = "train.py") -> int:
    """Train a run and score it.

    Args:
        args: the words after the program's name.
        demos: makes the data set of a "demo:" source.
        prog: what the user typed, for messages and the card.

    Returns:
        The exit code: 2 for what cannot be done, 130 for a run that was stopped.
    """
    try:
        preset, config = parse_train_args(args, prog)
        return _train(preset, config, " ".join([prog, *args]), demos)
    except (ValueError, OSError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"{prog}: {str(interrupt) or 'stopped'}", file=sys.stderr)
        return 130


def _train(
    preset: str, config: TrainConfig, command: str, demos: Callable[[str], EpisodeDataset]
) -> int:
    # Imported here so that --help and a mistyped preset answer at once.
    from rich.console import Console

    from dt.cli.progress import episode_progress, reading_progress, training_progress
    from dt.evaluation.score_run import measure_for, score
    from dt.parallel.processes import is_first
    from dt.training.hooks import Hooks
    from dt.training.run import fit, prepare, start_jax

    start_jax(config.distributed)
    console = Console(highlight=False, quiet=not is_first())

    def say(line: str) -> None:
        console.print(line, markup=False)

    with reading_progress(console) as on_steps:
        run = prepare(preset, config, demos=demos, on_message=say, on_steps=on_steps)
    for line in run.describe():
        say(line)
    with training_progress(console, config.num_steps) as on_round:
        measure = measure_for(run, command=command, on_message=say)
        state = fit(run, hooks=Hooks(say, on_round), measure=measure)
    if run.task is None:
        say(f"trained {run.directory}")
        return 0
    # Pictures: not before training starts.
    from dt.report.card_table import print_card
    from dt.report.write import write_card

    count = config.evaluation.num_targets if run.spec.conditional else 1
    with episode_progress(console, count * config.evaluation.episodes) as on_step:
        card = score(run, state, command=command, on_step=on_step)
    if card is not None:
        written = write_card(card, run.directory)
        print_card(card, console)
        say("wrote " + ", ".join(map(str, [run.directory, *written])))
    return 0


def parse_train_args(args: list[str], prog: str = "train.py") -> tuple[str, TrainConfig]:
    """Parse `[PRESET] [--flags]` into the preset's name and the configuration.

    Raises:
        ValueError: for an unknown preset, naming the nearest, and for flags and values that are
            not allowed.
        SystemExit: after --help.
    """
    preset = preset_for(_last_value(args, "--data", "--data.source"))
    if args and not args[0].startswith("-"):
        preset, args = args[0], args[1:]
    if preset not in PRESETS:
        near = difflib.get_close_matches(preset, PRESETS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown preset {preset!r}; {hint}there are {', '.join(PRESETS)}")
    description = (
        f"{prog} [PRESET] [--data SOURCE] [--run-dir DIR] [--num-steps N] [--seed S] [--resume] "
        f"[--dotted.override V]. Presets: {', '.join(PRESETS)}; without one, {OWN_DATA} where "
        f"--data is given, else {DEMO}, which makes its own data. The defaults below are the "
        "preset's, or those of its --model.recipe and --model.size."
    )
    default = with_recipe(PRESETS[preset], _last_value(args, "--model.recipe"))
    default = with_size(default, _last_value(args, "--model.size"))
    if "--resume" in args and not _last_value(args, "--num-steps"):
        asked = asked_before(preset, _last_value(args, "--run-dir"))
        default = dataclasses.replace(default, num_steps=asked or default.num_steps)
    return preset, parse_args(TrainConfig, args, prog, default=default, description=description)


def _last_value(args: list[str], *flags: str) -> str:
    """Find the value of a flag that decides the defaults of others; empty without it."""
    value = ""
    for word, following in zip(args, [*args, ""][1:], strict=True):
        name, _, given = word.partition("=")
        if name in flags:
            value = given or following
    return value
