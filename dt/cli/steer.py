"""The command line of `steer.py RUN_DIR VERB`: weights held fixed, which input does what?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dt.cli.args import parse_args
from dt.cli.exit_code import exit_code

VERBS = {
    "ask": "measure which input brings which return, so that a wanted return comes about",
}


@dataclass(frozen=True)
class AskConfig:
    """Find the inputs, a request and weights of guidance each, that bring wanted returns. Episodes
    are counted, and no card plays them. RUN_DIR/ask.json then serves evaluate.py --asked and
    load_policy(RUN_DIR, asked=True)."""

    budget: int = 700
    """Episodes that may be played, all told."""
    seed: int = 0
    """Seed of the search and of its episodes."""
    env: str = ""
    """Environment id; empty: the one the data came from."""
    checkpoint: str = "last"
    """Which checkpoint plays: last, best or an update's number."""
    deterministic: bool = False
    """Take the likeliest action instead of sampling."""


def main(
    args: list[str], load_envs: Callable[[], object] = lambda: None, prog: str = "steer.py"
) -> int:
    """Run one verb on a run.

    Args:
        args: the words after the program's name: the run's directory, the verb and its flags.
        load_envs: registers environments; called once JAX may start.
        prog: what the user typed, for messages and files.

    Returns:
        The exit code: 2 for what cannot be done, 130 where it was stopped.
    """
    if not args or args[0] in ("-h", "--help"):
        print(f"usage: {prog} RUN_DIR VERB ...; `{prog} RUN_DIR VERB --help` says what it takes")
        for name, does in VERBS.items():
            print(f"  {name:<10}{does}")
        return 0
    return exit_code(prog, lambda: _run(args, load_envs, prog), stopped="stopped, nothing written")


def _run(args: list[str], load_envs: Callable[[], object], prog: str) -> int:
    run_dir, verb, *rest = [*args, ""] if len(args) == 1 else args
    if verb not in VERBS:
        raise ValueError(f"no verb {verb!r}; there are {', '.join(VERBS)}")
    config = parse_args(AskConfig, rest, f"{prog} {run_dir} {verb}")
    return _ask(Path(run_dir), config, " ".join([prog, *args]), load_envs)


def _ask(run_dir: Path, config: AskConfig, command: str, load_envs: Callable[[], object]) -> int:
    # Imported here so that --help and mistyped flags answer at once.
    import numpy as np
    from rich.console import Console

    from dt.acting.ask_table import ASK_TABLE
    from dt.acting.targets import parse_targets
    from dt.checkpoint.load import find_checkpoint, load_spec
    from dt.cli.progress import episode_progress
    from dt.parallel.startup import use_compilation_cache
    from dt.report.steering_plots import plot_ask_table
    from dt.report.steering_table import ask_sheet
    from dt.steering.of_run import AskOptions, ask_run

    console = Console(highlight=False)
    use_compilation_cache()
    load_envs()
    options = AskOptions(
        budget=config.budget,
        seed=config.seed,
        env_id=config.env,
        checkpoint=config.checkpoint,
        deterministic=config.deterministic,
        command=command,
    )
    with episode_progress(console, config.budget) as on_step:
        table = ask_run(run_dir, options, on_step)
    spec = load_spec(find_checkpoint(run_dir, config.checkpoint))
    wanted = np.asarray(parse_targets(["p5:p95:7"], spec.dataset))
    ask_sheet(table, wanted).print(console)
    picture = (run_dir / ASK_TABLE).with_suffix(".png")
    plot_ask_table(table, wanted, picture)
    console.print(f"wrote {run_dir / ASK_TABLE}, {picture}", markup=False, soft_wrap=True)
    return 0
