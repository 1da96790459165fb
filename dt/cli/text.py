"""The command lines of runs on text: `train.py text` and `evaluate.py RUN`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from dt.cli.args import parse_args
from dt.config.text import TextConfig

if TYPE_CHECKING:
    from rich.console import Console

    from dt.text.card import TextCard

CARD = "card"  # name of the card that training makes


@dataclass(frozen=True)
class EvaluateTextConfig:
    """Write texts at the scores a model is asked for, have them judged, and print its card."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Directory of a run on text; its posts must lie where they lay."""
    targets: tuple[float, ...] = ()
    """Scores to ask for, in the file's unit (of adjusted ranks: in deviations); by default
    --num-targets from the 5th to the 95th percentile of the data's."""
    num_targets: int | None = None
    """How many, where --targets names none; by default as the run has it, and so below."""
    samples: int | None = None
    """Texts for each of them, and 8 times as many at held-out texts' own scores."""
    judge: str | None = None
    """tfidf, MODULE:FUNCTION, the directory of a reward model's run, or none."""
    guidance: float | None = None
    """Weight of what the score changes."""
    temperature: float | None = None
    """Below 1 nearer to the likeliest text."""
    top_k: int | None = None
    """Sample among the likeliest so many tokens; 0: all."""
    top_p: float | None = None
    """Sample among the likeliest tokens that have this probability together."""
    checkpoint: str = "last"
    """Which checkpoint writes: last, or an update's number."""
    seed: int = 0
    """Of the samples."""
    out: Path | None = None
    """Folder for the card; by default RUN/cards."""
    write: bool = True
    """Write the card as JSON and as a page; without, it is printed alone."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"--seed is {self.seed}; it must be from 0 to 2^31 - 1")
        if self.targets and (len(self.targets) < 2 or len(set(self.targets)) < len(self.targets)):
            raise ValueError("--targets wants two scores or more, each once")


@dataclass(frozen=True)
class ExportTextConfig:
    """Write a run on text as a folder that transformers reads, and `train.py text --from`."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Directory of a run on text."""
    out: Annotated[Path, tyro.conf.Positional]
    """The folder."""
    checkpoint: str = "last"
    """Which checkpoint is written: last, or an update's number."""


def train_text(preset: str, config: TextConfig, command: str) -> int:
    """Train a run on text, and make its card.

    Returns:
        The exit code.
    """
    # Imported here so that --help and a mistyped flag answer at once.
    from rich.console import Console

    from dt.cli.progress import training_progress
    from dt.parallel.processes import is_first
    from dt.text.evaluate import evaluate_text
    from dt.text.generator import load_generator
    from dt.text.run import fit_text, prepare_text
    from dt.training.hooks import Hooks

    console = Console(highlight=False, quiet=not is_first())

    def say(line: str) -> None:
        console.print(line, markup=False)

    run = prepare_text(preset, config, on_message=say)
    for line in run.describe():
        say(line)
    with training_progress(console, config.num_steps) as on_round:
        fit_text(run, hooks=Hooks(say, on_round))
    if not is_first():
        return 0
    how, generator = run.config.evaluation, load_generator(run.directory)
    targets = run.spec.targets(how.num_targets)
    card = evaluate_text(
        generator, run.corpus, run.judge, how, targets=targets, command=command, say=say
    )
    _show(card, run.directory, CARD, console)
    return 0


def evaluate_text_run(args: list[str], prog: str) -> int:
    """Make the card of a run on text by the words of a command line.

    Returns:
        The exit code.
    """
    asked = parse_args(EvaluateTextConfig, args, prog)
    import numpy as np
    from rich.console import Console

    from dt.checkpoint.load import find_checkpoint
    from dt.parallel.startup import use_compilation_cache
    from dt.text.evaluate import card_of_text_run
    from dt.text.run import config_of_run
    from dt.text.spec import load_text_spec

    use_compilation_cache()
    console = Console(highlight=False)
    config = config_of_run(asked.run_dir)
    names = [field.name for field in dataclasses.fields(config.evaluation)]
    given = {name: getattr(asked, name) for name in names if getattr(asked, name) is not None}
    how = dataclasses.replace(config.evaluation, **given)
    spec = load_text_spec(find_checkpoint(asked.run_dir, asked.checkpoint))
    card = card_of_text_run(
        asked.run_dir,
        how,
        config=config,
        targets=spec.scale.transformed(np.array(asked.targets, float)),
        checkpoint=asked.checkpoint,
        seed=asked.seed,
        command=" ".join([prog, *args]),
        say=lambda line: console.print(line, markup=False),
    )
    words = [f"{key}-{value}".replace("/", "_") for key, value in given.items()]
    name = "-".join([asked.checkpoint, *words, f"s{asked.seed}"])
    if asked.write:
        _show(card, asked.out or asked.run_dir / "cards", name, console)
    else:
        _print(card, console)
    return 0


def export_text_run(args: list[str], prog: str) -> int:
    """Write a run on text as a folder of GPT-2's or Llama's kind.

    Returns:
        The exit code.
    """
    asked = parse_args(ExportTextConfig, args, prog)
    from dt.text.export import export_text

    for line in export_text(asked.run_dir, asked.out, asked.checkpoint):
        print(line)
    return 0


def _show(card: TextCard, folder: Path, name: str, console: Console) -> None:
    from dt.text.page import write_text_card

    files = write_text_card(card, folder, name)
    _print(card, console)
    console.print("wrote " + ", ".join(map(str, files)), markup=False, soft_wrap=True)


def _print(card: TextCard, console: Console) -> None:
    from dt.text.card import card_sheet

    card_sheet(card).print(console)
    for row in (card.targets[0], card.targets[-1]):
        for text in row.texts[:3]:
            console.print(f"asked {row.target:.3g}: {text}", markup=False, soft_wrap=True)
