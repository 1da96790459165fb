"""`dt COMMAND ...`: the commands of the installed package; the scripts at the top call the same."""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dt.play.installed import environments
from dt.words import there_are

if TYPE_CHECKING:
    from collections.abc import Callable

    from dt.cli.collect import Players
    from dt.data import EpisodeDataset
    from dt.evaluation.evaluate import FindTask

COMMANDS = {
    "train": "dataset -> learner -> checkpoints -> score card",
    "compare": "train variants with several seeds, or take cards, and set them side by side",
    "evaluate": "play a run at target returns, and print its score card",
    "steer": "find which input makes the wanted output, with the weights held fixed",
    "collect": "let policies act in an environment, and keep what they did",
    "data": "show what a log holds, or convert it",
    "export": "write a policy as one file that JAX alone runs",
}

# Whose values may be MODULE:NAME, code of the user's own.
NAMES_MODULES = ("--env", "--evaluation.env", "--policy")
MODULE = re.compile(r"([A-Za-z_]\w*)(?:\.\w+)*:[A-Za-z_][\w.-]*")


def main() -> int:
    command, *args = sys.argv[1:] or ["--help"]
    if command in ("-h", "--help"):
        print("usage: dt COMMAND ...; `dt COMMAND --help` says what it takes")
        for name, does in COMMANDS.items():
            print(f"  {name:<10}{does}")
        return 0
    if command not in COMMANDS:
        print(f"dt: no command {command!r}; {there_are(command, COMMANDS)}", file=sys.stderr)
        return 2
    if command == "collect":
        # Before NumPy is imported: a row's products are too small to share among threads, and how
        # many there are would decide the last bit.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    find_modules_here(command, args)
    # Imported when it is chosen: some commands start without JAX.
    run = importlib.import_module(f"dt.cli.{command}").main
    brings = {
        "train": load_demo,
        "compare": load_demo,
        "evaluate": load_tasks,
        "steer": load_demos,
        "collect": load_players,
    }
    return run(args, brings[command], f"dt {command}") if command in brings else run(args)


def find_modules_here(command: str, args: list[str]) -> None:
    """Let modules be found in the working directory that the user names, as MODULE:NAME.

    A script's own folder is on Python's path, that of an installed command's user is not. It comes
    last, so that it hides nothing that is installed, and only where such a module lies in it.
    """
    flag = "--env" if command == "collect" else ""  # whose first word is an environment's id
    for word in args:
        before, _, value = word.rpartition("=")
        named = MODULE.fullmatch(value) if (before or flag) in NAMES_MODULES else None
        if named and any(
            map(Path.is_file, (Path(f"{named[1]}.py"), Path(named[1], "__init__.py")))
        ):
            sys.path.append(str(Path.cwd()))
            return
        flag = word if word.startswith("-") else flag


def load_demo(source: str) -> EpisodeDataset:
    return environments().load_demo(source)


def load_demos() -> Callable[[str], EpisodeDataset]:
    """Register environments; give what makes their demos."""
    found: Callable[[str], EpisodeDataset] = environments().load_demo
    return found


def load_players() -> Players:
    return environments().PLAYERS


def load_tasks() -> FindTask:
    """Register environments; find those with a functional form, which starts JAX."""
    return importlib.import_module(f"{environments().__name__}.functional").functional_task
