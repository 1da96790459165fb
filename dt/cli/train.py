"""The command line of `train.py`: parse, prepare, fit, score, print."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dt.cli.args import parse_args
from dt.cli.exit_code import exit_code
from dt.cli.reward import train_reward
from dt.cli.text import train_text
from dt.config import RunConfig, TrainConfig, to_json
from dt.config.presets import (
    DEMO,
    OWN_DATA,
    PRESETS,
    REWARD,
    TEXT_PRESETS,
    preset_for,
    preset_named,
    text_preset,
    with_recipe,
    with_size,
)
from dt.config.text import TextConfig
from dt.files import read_json, shown, structured
from dt.training.run_directory import over, recorded

if TYPE_CHECKING:
    from dt.data import EpisodeDataset
    from dt.evaluation.card import Card

Run = TypeVar("Run", bound=RunConfig)


def main(args: list[str], demos: Callable[[str], EpisodeDataset], prog: str = "train.py") -> int:
    """Train a run and score it.

    Args:
        args: the words after the program's name.
        demos: makes the data set of a "demo:" source.
        prog: what the user typed, for messages and the card.

    Returns:
        The exit code: 2 for what cannot be done, 130 for a run that was stopped.
    """

    def command() -> int:
        if args and args[0] in TEXT_PRESETS:
            train = train_reward if args[0] == REWARD else train_text
            return train(args[0], parse_text_args(args, prog), " ".join([prog, *args]))
        preset, config = parse_train_args(args, prog)
        return _train(preset, config, " ".join([prog, *args]), demos)

    return exit_code(prog, command)


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
        measure = measure_for(run, command=command, on_message=say, draw=_draw)
        state = fit(run, hooks=Hooks(say, on_round), measure=measure)
    if run.task is None:
        say(f"trained {run.directory}")
        return 0
    # Pictures: not before training starts.
    from dt.report.card_table import print_card
    from dt.report.write import publish_card

    count = config.evaluation.num_targets if run.spec.conditional else 1
    with episode_progress(console, count * config.evaluation.episodes) as on_step:
        card = score(run, state, command=command, on_step=on_step)
    if card is not None:
        written = publish_card(run, card)
        print_card(card, console)
        say("wrote " + ", ".join(map(str, [run.directory, *written])))
    return 0


def _draw(card: Card, path: Path) -> None:
    # Matplotlib: not before there is something to draw.
    from dt.report.plots import plot_calibration

    plot_calibration(card, path)


def parse_train_args(args: list[str], prog: str = "train.py") -> tuple[str, TrainConfig]:
    """Parse `[PRESET] [--flags]` into the preset's name and the configuration.

    Raises:
        ValueError: for an unknown preset, naming the nearest, and for flags and values that are
            not allowed.
        SystemExit: after --help.
    """
    preset, file = "", _last_value(args, "--config")
    if args and not args[0].startswith("-"):
        preset, args = args[0], args[1:]
    values, args = _from_file(args)
    of_file = str(values.pop("preset", ""))
    if of_file and not preset:
        try:
            preset_named(of_file)
        except ValueError as error:
            raise ValueError(shown(f"--config {file}: preset: {error}")) from None
    preset = preset or of_file or preset_for(_source(args, values))
    preset_named(preset)
    known = [*PRESETS, *TEXT_PRESETS]
    description = (
        f"{prog} [PRESET] [--data SOURCE] [--run-dir DIR] [--num-steps N] [--seed S] [--resume] "
        f"[--config FILE] [--dotted.override V]. Presets: {', '.join(known)}; without one, "
        f"{OWN_DATA} where --data is given, else {DEMO}, which makes its own data. --config takes "
        "a run's config.json, or a file with some of its keys, as defaults, but for run_dir and "
        "resume. The defaults below are the preset's, or those of its --model.recipe and "
        "--model.size."
    )
    default = _over(PRESETS[preset], values, file)
    default = with_recipe(default, _last_value(args, "--model.recipe"))
    default = with_size(default, _last_value(args, "--model.size"))
    if "--resume" in args and not _last_value(args, "--num-steps"):
        default = _as_long_as_before(default, preset, args)
    return preset, parse_args(TrainConfig, args, prog, default=default, description=description)


def parse_text_args(args: list[str], prog: str = "train.py") -> TextConfig:
    """Parse `PRESET [--flags]` of a run on text.

    Raises:
        ValueError: for flags and values that are not allowed.
        SystemExit: after --help.
    """
    preset, file = args[0], _last_value(args, "--config")
    values, rest = _from_file(args[1:])
    values.pop("preset", None)
    default = text_preset(preset, _source(rest, values), bool(_starts_from(rest, values)))
    default = _over(default, values, file)
    if "--resume" in rest and not _last_value(rest, "--num-steps"):
        default = _as_long_as_before(default, preset, rest)
    description = (
        f"{prog} {preset} [--data FILE] [--text.column NAME] [--text.score NAME] [--from FOLDER] "
        f"[--run-dir DIR] [--resume] [--dotted.override V]: a language model that is told a text's "
        f"score first. Without --data it learns sentences made up here. --config takes a run's "
        f"config.json as defaults."
    )
    return parse_args(TextConfig, rest, prog, default=default, description=description)


def _as_long_as_before(default: Run, preset: str, args: list[str]) -> Run:
    """Keep the number of updates of a run that is resumed."""
    before = recorded(preset, _last_value(args, "--run-dir"))
    return dataclasses.replace(default, num_steps=before.get("num_steps", default.num_steps))


def _from_file(args: list[str]) -> tuple[dict[str, object], list[str]]:
    """Read the options of the file that --config names, and take the flag out of the words."""
    name = _last_value(args, "--config")
    if not name:
        return {}, args
    places = [i for i, word in enumerate(args) if word.partition("=")[0] == "--config"]
    taken = {i for i in places} | {i + 1 for i in places if "=" not in args[i]}
    try:
        values = read_json(Path(name))
    except ValueError as error:
        raise ValueError(f"--config {error}; name a run's config.json") from None
    if not isinstance(values, dict):
        raise ValueError(f"--config {name}: holds no options by name, as a run's config.json does")
    values.pop("run_dir", None), values.pop("resume", None)
    return values, [word for i, word in enumerate(args) if i not in taken]


def _source(args: list[str], values: dict[str, object]) -> str:
    """Find where the data are, by a flag or in a file's options."""
    part = values.get("data")
    default = part.get("source", "") if isinstance(part, dict) else ""
    return _last_value(args, "--data", "--data.source") or str(default)


def _starts_from(args: list[str], values: dict[str, object]) -> str:
    """Find whose weights a run on text begins with, by a flag or in a file's options."""
    part = values.get("start")
    default = part.get("source", "") if isinstance(part, dict) else ""
    return _last_value(args, "--from", "--start.source") or str(default)


def _over(preset: Run, values: dict[str, object], file: str) -> Run:
    """Lay the options of a file over the preset's."""
    if not values:
        return preset
    try:
        return structured(type(preset), over(json.loads(json.dumps(to_json(preset))), values))
    except ValueError as error:
        raise ValueError(shown(f"--config {file}: {error}")) from None


def _last_value(args: list[str], *flags: str) -> str:
    """Find the value of a flag that decides the defaults of others; empty without it."""
    value = ""
    for word, following in zip(args, [*args, ""][1:], strict=True):
        name, _, given = word.partition("=")
        if name in flags:
            value = given or following
    return value
