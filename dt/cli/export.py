"""`dt export RUN_DIR policy.npz`: a policy as one file that JAX alone can load and run."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dt.acting.options import ActingOptions, PastEnd
from dt.checkpoint.export import PLATFORMS, Platform, check_export, export_policy
from dt.checkpoint.load import load_policy
from dt.cli.args import parse_args
from dt.cli.exit_code import exit_code
from dt.cli.text import export_text_run
from dt.training.run_directory import is_text_run

PROG = "dt export"


@dataclass(frozen=True)
class ExportConfig:
    """Write a run's policy as one file that JAX alone can load and run."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Run directory that holds the policy."""
    out: Annotated[Path, tyro.conf.Positional]
    """The file, such as policy.npz."""
    batch_size: int = 1
    """Environments that the program acts in at once."""
    weights: Literal["in", "beside"] = "in"
    """Where the weights lie: in the program, or in OUT.weights.npz and given to it."""
    checkpoint: str = "last"
    """Which checkpoint is written: last, best or an update's number."""
    deterministic: bool = False
    """Take the likeliest action instead of sampling."""
    past_end: PastEnd = "error"
    """What the program does past the longest timestep that the model knows: give no action, or
    (clamp) go on, at the last position."""
    guidance: float | None = None
    """Weight of what the return changes in the policy: see `evaluate.py --help`; by default the
    run's. A program that is guided computes two passes a step, 1 makes it one."""
    guidance_enough: float | None = None
    """The weight once all that was asked for has come; by default the same as --guidance."""
    enough_below: float = 0.03
    """--guidance-enough counts when less is left than this share of the data's highest return."""
    steer: str = ""
    """A .steer file to act by, which a verb of dt steer made for these weights."""
    platforms: tuple[Platform, ...] = PLATFORMS
    """Kinds of device that the program is compiled for."""

    def __post_init__(self) -> None:
        check_export(self.out, self.batch_size)


def main(args: list[str] | None = None) -> int:
    words = sys.argv[1:] if args is None else args

    def command() -> int:
        if any(is_text_run(Path(word)) for word in words if not word.startswith("-")):
            return export_text_run(words, PROG)
        return _export(parse_args(ExportConfig, words, PROG))

    return exit_code(PROG, command)


def _export(config: ExportConfig) -> int:
    policy = load_policy(
        config.run_dir,
        config.checkpoint,
        options=ActingOptions(
            deterministic=config.deterministic,
            past_end=config.past_end,
            guidance=config.guidance,
            guidance_enough=config.guidance_enough,
            enough_below=config.enough_below,
            steer=config.steer,
        ),
    )
    files = export_policy(
        policy,
        config.out,
        batch_size=config.batch_size,
        beside=config.weights == "beside",
        platforms=config.platforms,
    )
    print("wrote " + ", ".join(f"{file} ({file.stat().st_size:,} bytes)" for file in files))
    return 0
