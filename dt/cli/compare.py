"""The command line of `dt compare`: variants, seeds and cards side by side in one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import tyro

from dt.cli.args import flags_of, parse_args
from dt.cli.exit_code import exit_code
from dt.cli.train import parse_train_args
from dt.config import TrainConfig
from dt.config.variants import VARIANTS
from dt.words import there_are

if TYPE_CHECKING:
    from rich.console import Console

    from dt.data import EpisodeDataset
    from dt.evaluation.card import AnyCard, Card
    from dt.evaluation.contest import Contender


@dataclass(frozen=True)
class CompareConfig:
    """Train variants on the same data with several seeds, or take cards that are there, and set
    them side by side. What is trained already is not trained again, and what was interrupted goes
    on. Other flags of train.py, such as --model.width 64, hold for every variant."""

    cards: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Cards to compare, any number: files, folders of --out, or run directories. Nothing is trained
    then."""
    data: str = ""
    """What all variants learn from, as of train.py; empty: what the preset brings."""
    variants: list[str] = field(default_factory=lambda: ["dt", "bc", "top10", "rvs"])
    """Variants by name: dt, bc, top10, rvs, fused, added, adaln, returns. The others are held
    against the first."""
    seeds: int = 3
    """Runs of each variant, with the seeds 0, 1, 2 and so on."""
    preset: str = ""
    """Preset of all variants; empty: as train.py has it."""
    num_steps: int = 0
    """Updates of each run; 0: the preset's."""
    episodes: int = 0
    """Episodes for each target; 0: the preset's."""
    sweep: list[str] = field(default_factory=list)
    """A flag of train.py and its values (optimizer.learning-rate 1e-4 3e-4): each variant is
    trained with each of them."""
    out: Path = Path("comparison")
    """Folder for the runs, the table and the pictures."""

    def __post_init__(self) -> None:
        for name in self.variants:
            if name not in VARIANTS:
                raise ValueError(f"--variants {name}: {there_are(name, VARIANTS)}")
        if len(set(self.variants)) < len(self.variants) or not self.variants:
            raise ValueError("--variants: name each variant once, and at least one")
        if self.seeds < 1:
            raise ValueError(f"--seeds is {self.seeds}; it must be at least 1")
        if len(self.sweep) == 1:
            raise ValueError(f"--sweep {self.sweep[0]}: name the values after the flag")
        if self.cards and (self.data or self.sweep or self.preset):
            raise ValueError(
                "cards are compared as they are: leave out --data, --preset and --sweep"
            )
        if self.out.exists() and not self.out.is_dir():
            raise ValueError(f"--out {self.out}: is a file; name a folder")


class Group(NamedTuple):
    """Runs that differ in their seeds alone."""

    name: str
    flags: list[str]

    @property
    def folder(self) -> str:
        """How the names of its runs begin."""
        return "".join(c if c.isalnum() or c in ".+-" else "-" for c in self.name)


def main(args: list[str], demos: Callable[[str], EpisodeDataset], prog: str = "dt compare") -> int:
    """Compare variants or cards.

    Args:
        args: the words after the program's name.
        demos: makes the data set of a "demo:" source.
        prog: what the user typed, for messages and cards.

    Returns:
        The exit code: 2 for what cannot be done, 130 where it was stopped.
    """

    def command() -> int:
        own, passed = split_flags(args)
        config = parse_args(CompareConfig, own, prog)
        if config.cards and passed:
            raise ValueError(f"{passed[0]} is of training; cards are compared as they are")
        try:
            return _compare(config, passed, " ".join([prog, *args]), demos)
        except KeyboardInterrupt as interrupt:  # one run's words, of which --resume is no flag here
            raise KeyboardInterrupt(str(interrupt).partition("; --resume")[0]) from interrupt

    return exit_code(prog, command, "{why}; the same command goes on from there")


def split_flags(args: list[str]) -> tuple[list[str], list[str]]:
    """Part the words of `dt compare` from flags of training, which are passed on."""
    set_here = {"--seed", "--run-dir", "--resume", *flags_of(CompareConfig)}
    flags = set(flags_of(TrainConfig)) - set_here
    own: list[str] = []
    passed: list[str] = []
    kept = own
    for word in args:
        if word.startswith("--"):
            kept = passed if word.partition("=")[0] in flags else own
        kept.append(word)
    return own, passed


def groups_of(config: CompareConfig, passed: list[str]) -> list[Group]:
    """Name the groups of runs, each variant with each value of the sweep, and their flags."""
    flag, *values = config.sweep or [""]
    flag = flag.removeprefix("--")
    groups = []
    for variant in config.variants:
        flags = [*passed, *VARIANTS[variant]]
        groups += [
            Group(f"{variant} {flag.rpartition('.')[2]}={value}", [*flags, f"--{flag}", value])
            for value in values
        ]
        groups += [] if values else [Group(variant, flags)]
    return groups


def _compare(
    config: CompareConfig, passed: list[str], command: str, demos: Callable[[str], EpisodeDataset]
) -> int:
    # Imported here so that --help and mistyped flags answer at once.
    from rich.console import Console

    from dt.evaluation.contest import contest

    console = Console(highlight=False)
    if config.cards:
        contenders = _cards(config.cards)
    else:
        contenders = _trained(config, groups_of(config, passed), command, demos, console)
    found = contest(contenders)
    from dt.report.contest_table import print_contest, write_contest

    print_contest(found, console)
    written = write_contest(found, config.out)
    console.print("wrote " + ", ".join(map(str, written)), markup=False, soft_wrap=True)
    return 0


def _cards(paths: tuple[Path, ...]) -> list[Contender]:
    """Read cards, and find the logs of their runs."""
    from dt.evaluation.comparison import read_card
    from dt.evaluation.contest import Contender

    names = [path.resolve().name if path.is_dir() else path.stem for path in paths]
    contenders = []
    for path, name in zip(paths, names, strict=True):
        card: AnyCard = read_card(path)
        around = (path, path.parent, path.parent.parent)
        logs = [folder for folder in around if (folder / "metrics.jsonl").is_file()]
        shown = name if names.count(name) == 1 else str(path)
        contenders.append(Contender(shown, card, tuple(logs[:1])))
    return contenders


def _trained(
    config: CompareConfig,
    groups: list[Group],
    command: str,
    demos: Callable[[str], EpisodeDataset],
    console: Console,
) -> list[Contender]:
    """Train what is not trained yet, and sum up the seeds of each group."""
    from dt.evaluation.aggregate import aggregate_cards
    from dt.evaluation.contest import Contender
    from dt.report.write import write_evaluation

    for group in groups:  # what is wrong with one is said before any is trained
        _parsed(config, group, 0)
    contenders = []
    for number, group in enumerate(groups):
        cards: list[Card] = []
        for seed in range(config.seeds):
            which = number * config.seeds + seed + 1
            said = f"{group.name}, seed {seed} ({which} of {len(groups) * config.seeds})"
            cards.append(_finish(config, group, seed, said, command, demos, console))
        run_dirs = tuple(_run_dir(config, group, seed) for seed in range(config.seeds))
        card: AnyCard = cards[0]
        if len(cards) > 1:
            card = aggregate_cards(cards, [run_dir.name for run_dir in run_dirs])
            write_evaluation(card, config.out, group.folder, latest="")
        contenders.append(Contender(group.name, card, run_dirs))
    return contenders


def _finish(
    config: CompareConfig,
    group: Group,
    seed: int,
    said: str,
    command: str,
    demos: Callable[[str], EpisodeDataset],
    console: Console,
) -> Card:
    """Train one run and play its card, unless that is done."""
    from dt.evaluation.finish import finish
    from dt.report.plots import plot_calibration
    from dt.report.write import publish_card
    from dt.training.hooks import Hooks, Means

    preset, options = _parsed(config, group, seed)
    with console.status(f"{said}: reading") as status:

        def say(line: str) -> None:
            console.print(f"{said}: {line}", markup=False, soft_wrap=True)

        def on_round(step: int, means: Means) -> None:
            status.update(f"{said}: update {step} of {options.num_steps}, loss {means['loss']:.4f}")

        def on_step(done: int, steps: int) -> None:
            status.update(f"{said}: playing, {done} episodes")

        card, run = finish(
            preset,
            options,
            demos=demos,
            command=command,
            hooks=Hooks(say, on_round),
            on_step=on_step,
            draw=plot_calibration,
        )
    if run is not None:
        publish_card(run, card)
    best = max(row.return_mean for row in card.targets)
    say(f"{'done before, return' if run is None else 'return'} {best:.5g}")
    return card


def _run_dir(config: CompareConfig, group: Group, seed: int) -> Path:
    return config.out / f"{group.folder}-{seed}"


def _parsed(config: CompareConfig, group: Group, seed: int) -> tuple[str, TrainConfig]:
    """Make the options of one run as train.py would."""
    words = [config.preset] if config.preset else []
    words += ["--data", config.data] if config.data else []
    words += ["--num-steps", str(config.num_steps)] if config.num_steps else []
    words += ["--evaluation.episodes", str(config.episodes)] if config.episodes else []
    words += ["--seed", str(seed), "--run-dir", str(_run_dir(config, group, seed))]
    return parse_train_args([*words, *group.flags], "dt compare")
