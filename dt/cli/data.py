"""`dt data SOURCE` shows the card of a data set; `convert SOURCE OUT` rewrites one.

The card is shown for every source that can be read, whatever it finds: exit code 0. What cannot
be read at all is one line and exit code 2.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dt.cli.args import parse_args
from dt.cli.exit_code import exit_code
from dt.data.formats.frames import USUAL, ColumnNames
from dt.files import reading, written_whole

PROG = "dt data"


@dataclass(frozen=True)
class CardConfig:
    """Show what a data set holds: its sizes, returns, faults, and whether they can steer.

    `dt data convert SOURCE OUT` rewrites a data set in another format.
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """What --data takes: a path, a glob, a folder, a local Minari id, or format: one of these."""
    env: str = ""
    """Environment id; empty: the one the data names."""
    reward: str = ""
    """LeRobot: the reward's column, or 'success' or 'final'; empty: next.reward."""
    columns: ColumnNames = USUAL
    json: Path | None = None
    """Write the card to this .json file."""
    picture: Path | None = None
    """The picture's .png file; by default NAME-data.png beside --json, or in this folder."""
    draw: bool = True
    """Draw the card's picture too."""

    def __post_init__(self) -> None:
        for flag, path, suffix in (("json", self.json, ".json"), ("picture", self.picture, ".png")):
            if path is None:
                continue
            if path.suffix != suffix:  # so that no slip of the hand overwrites a data set
                raise ValueError(f"--{flag} {path}: the name must end in {suffix}")
            if not path.parent.is_dir():
                raise ValueError(f"--{flag} {path}: there is no folder {path.parent}")


@dataclass(frozen=True)
class ConvertConfig:
    """Write a data set in the format that OUT's name asks for."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """What is read, as --data takes it."""
    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """What is to be made: NAME.npz, NAME.hdf5 (D4RL's), or a Minari id (NAME-v0)."""
    env: str = ""
    """Environment id; empty: the one the data names."""
    reward: str = ""
    """LeRobot: the reward's column, or 'success' or 'final'; empty: next.reward."""
    columns: ColumnNames = USUAL


def main(args: list[str] | None = None) -> int:
    words = sys.argv[1:] if args is None else args

    def command() -> int:
        if words[:1] == ["convert"]:
            return run_convert(parse_args(ConvertConfig, words[1:], f"{PROG} convert"))
        return run_card(parse_args(CardConfig, words, PROG))

    return exit_code(PROG, command)


def run_convert(config: ConvertConfig) -> int:
    from dt.data.formats.convert import convert

    env = config.env or None
    made = convert(config.source, config.out, env, reward=config.reward, columns=config.columns)
    print(f"wrote {made}")
    return 0


def run_card(config: CardConfig) -> int:
    # Imported here so that --help and mistyped flags answer at once.
    from rich.console import Console
    from rich.markup import escape

    from dt.data.card.card import data_card
    from dt.data.card.safety import safety_line
    from dt.data.checks import unchecked_values
    from dt.data.formats.sources import find_pieces, open_source, source_files
    from dt.report.data_card import print_data_card
    from dt.report.plots import plot_data_card

    picture = picture_path(config)
    read = source_files(config.source)
    for flag, path in (("--json", config.json), ("--picture", picture)):
        if path is not None and path.exists() and any(map(path.samefile, read)):
            raise ValueError(f"{flag} {path}: is the data itself; give another name")
    console = Console(highlight=False)
    # What training refuses is what a card is asked about.
    status = console.status(f"reading {escape(config.source)}")
    with unchecked_values(), status, reading(config.source):
        env = config.env or None
        source = open_source(config.source, env, reward=config.reward, columns=config.columns)
        card, table = data_card(source)
    opened = safety_line(find_pieces(config.source), read, source, config.env)
    print_data_card(card, console, opened)
    if config.json is not None:
        text = json.dumps(card, indent=1, allow_nan=False) + "\n"
        with written_whole(config.json) as beside:
            beside.write_text(text)
    if picture is not None:
        with written_whole(picture) as beside:
            plot_data_card(card, table.returns, table.lengths, beside)
    files = [str(path) for path in (config.json, picture) if path is not None]
    if files:
        console.print("wrote " + ", ".join(files), markup=False, soft_wrap=True)
    return 0


def picture_path(config: CardConfig) -> Path | None:
    """As asked, or NAME-data.png after the source: a file's or folder's name, an id whole."""
    if not config.draw:
        return None
    folder = config.json.parent if config.json is not None else Path()
    name = Path(config.source).name if Path(config.source).exists() else config.source
    name = re.sub(r"[^\w.+-]+", "-", re.sub(r"\.(npz|h5|hdf5|pkl|gz)$", "", name)).strip("-.*")
    return config.picture or folder / f"{name or 'all'}-data.png"


if __name__ == "__main__":
    sys.exit(main())
