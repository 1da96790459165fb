"""The command lines of reward models: `train.py text-reward-model` and `evaluate.py RUN`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from dt.cli.args import parse_args
from dt.config.text import TextConfig

if TYPE_CHECKING:
    from rich.console import Console

    from dt.text.reward.card import RewardCard

CARD = "card"  # name of the card that training makes


@dataclass(frozen=True)
class EvaluateRewardConfig:
    """Try a reward model on its held-out pairs and print its card, or label texts by it."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Directory of a reward model's run; what it learned from must lie where it lay."""
    label: Path | None = None
    """A file of posts without votes, in any format that --data takes: each is scored."""
    column: str = "text"
    """With --label: column of the texts."""
    prompt: str = ""
    """With --label: column of what they answer; empty: none."""
    out: Path | None = None
    """With --label: the .csv file that is written, the posts with a column score; without:
    the folder for the card, by default RUN/cards."""
    checkpoint: str = "last"
    """Which checkpoint scores: last, or an update's number."""
    write: bool = True
    """Write the card; without, it is printed alone."""

    def __post_init__(self) -> None:
        if self.label is not None and (self.out is None or self.out.suffix != ".csv"):
            raise ValueError(f"--out is {self.out}; it must name a .csv file with --label")


def train_reward(preset: str, config: TextConfig, command: str) -> int:
    """Train a reward model, and make its card.

    Returns:
        The exit code.
    """
    # Imported here so that --help and a mistyped flag answer at once.
    from rich.console import Console

    from dt.cli.progress import training_progress
    from dt.parallel.processes import is_first
    from dt.text.reward.card import card_of_reward_run
    from dt.text.reward.run import fit_reward, prepare_reward
    from dt.training.hooks import Hooks

    console = Console(highlight=False, quiet=not is_first())

    def say(line: str) -> None:
        console.print(line, markup=False)

    run = prepare_reward(preset, config, on_message=say)
    for line in run.describe():
        say(line)
    with training_progress(console, config.num_steps) as on_round:
        fit_reward(run, hooks=Hooks(say, on_round))
    if not is_first():
        return 0
    card = card_of_reward_run(run.directory, run.config, material=run.material, command=command)
    _show(card, run.directory, CARD, console)
    return 0


def evaluate_reward_run(args: list[str], prog: str) -> int:
    """Make the card of a reward model, or label texts, by the words of a command line.

    Returns:
        The exit code.
    """
    asked = parse_args(EvaluateRewardConfig, args, prog)
    from rich.console import Console

    from dt.parallel.startup import use_compilation_cache
    from dt.text.reward.card import card_of_reward_run, print_reward_card
    from dt.text.reward.label import label_file
    from dt.text.run import config_of_run

    use_compilation_cache()
    console = Console(highlight=False)
    if asked.label is not None and asked.out is not None:
        count = label_file(
            asked.run_dir, asked.label, asked.out, asked.column, asked.prompt, asked.checkpoint
        )
        console.print(f"wrote {asked.out}: {count} posts with a score", markup=False)
        return 0
    card = card_of_reward_run(
        asked.run_dir,
        config_of_run(asked.run_dir),
        checkpoint=asked.checkpoint,
        command=" ".join([prog, *args]),
    )
    if asked.write:
        _show(card, asked.out or asked.run_dir / "cards", str(asked.checkpoint), console)
    else:
        print_reward_card(card, console)
    return 0


def _show(card: RewardCard, folder: Path, name: str, console: Console) -> None:
    from dt.text.reward.card import print_reward_card, write_reward_card

    files = write_reward_card(card, folder, name)
    print_reward_card(card, console)
    console.print("wrote " + ", ".join(map(str, files)), markup=False, soft_wrap=True)
