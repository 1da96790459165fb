"""The command line of `steer.py RUN_DIR VERB`: finds the verb, which parses its own words."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from dt.cli.exit_code import exit_code
from dt.cli.steer.call import Call, Demos
from dt.cli.steer.of_text import VERBS as VERBS_OF_TEXT
from dt.cli.steer.of_text import run as run_of_text
from dt.training.run_directory import is_text_run
from dt.words import there_are

# What each verb does in a few words; dt/cli/steer/VERB.py runs it.
VERBS = {
    "ask": "measure which input brings which return, so that a wanted return comes about",
    "guide": "play at several weights of guidance, and see what each does",
    "optimize": "search for the input that makes a wanted output, against random search",
    "reach": "count the wanted outputs that so many edits of the input can bring about",
    "explain": "find what an action is owed to, and the smallest edit that would change it",
    "intervene": "put something else at an input or inside the model, and play with it",
}


def main(
    args: list[str], load_envs: Callable[[], Demos | None] = lambda: None, prog: str = "steer.py"
) -> int:
    """Run one verb on a run.

    Args:
        args: the words after the program's name: the run's directory, the verb and its flags.
        load_envs: registers environments, and gives what makes the data of "demo:" sources; called
            once JAX may start.
        prog: what the user typed, for messages and files.

    Returns:
        The exit code: 2 for what cannot be done, 130 where it was stopped.
    """
    if not args or args[0] in ("-h", "--help"):
        print(f"usage: {prog} RUN_DIR VERB ...; `{prog} RUN_DIR VERB --help` says what it takes")
        for name, does in VERBS.items():
            print(f"  {name:<10}{does}")
        for name, does in VERBS_OF_TEXT.items():
            print(f"  {name:<10}of a run on text: {does}")
        return 0
    return exit_code(prog, lambda: _run(args, load_envs, prog), stopped="stopped, nothing written")


def _run(args: list[str], load_envs: Callable[[], Demos | None], prog: str) -> int:
    run_dir, verb, *words = [*args, ""] if len(args) == 1 else args
    of_text = is_text_run(Path(run_dir))
    known = VERBS_OF_TEXT if of_text else VERBS
    if verb not in known:
        raise ValueError(f"no verb {verb!r}; {there_are(verb, known)}")
    call = Call(
        Path(run_dir), words, f"{prog} {run_dir} {verb}", " ".join([prog, *args]), load_envs
    )
    if of_text:
        return run_of_text(call, verb)
    # Imported when it is chosen, and JAX only once its words are right.
    code: int = importlib.import_module(f"dt.cli.steer.{verb}").run(call)
    return code
