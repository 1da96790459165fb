"""What the command line hands to a verb, and what every verb prints and writes at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console

    from dt.data import EpisodeDataset
    from dt.report.sheet import Sheet
    from dt.steering.outcome import Found

Demos: TypeAlias = "Callable[[str], EpisodeDataset]"
"""The data set of a source such as "demo:cartpole"."""


@dataclass(frozen=True)
class Call:
    """The run and the words of one call of a verb."""

    run_dir: Path
    words: list[str]  # the verb's flags
    prog: str  # up to the verb, for --help and errors
    command: str  # all that was typed
    load_envs: Callable[[], Demos | None]

    def start(self) -> tuple[Console, Demos | None]:
        """Start JAX and register environments, once the words are known to be right."""
        from rich.console import Console

        from dt.parallel.startup import use_compilation_cache

        use_compilation_cache()
        return Console(highlight=False), self.load_envs()


def finish(
    console: Console,
    found: Found,
    sheet: Sheet,
    run_dir: Path,
    draw: Callable[[Path], None],
    suffix: str = ".png",
    also: list[Path] | None = None,
) -> int:
    """Print a verb's sheet and verdict, and write its JSON and picture into the run.

    Args:
        draw: writes the picture, or the page, to a path.
        suffix: of the picture: .png or .html.
        also: files that were written before.
    """
    from dt.report.steering_files import write_found

    sheet.print(console)
    cost = found.outcome.cost
    took = [
        f"{count:,} {what}"
        for count, what in (
            (cost.forward, "forward passes"),
            (cost.backward, "backward passes"),
            (cost.episodes, "episodes"),
            (cost.env_steps, "environment steps"),
        )
        if count
    ]
    console.print(f"took {', '.join(took)}; weights unchanged", markup=False, soft_wrap=True)
    console.print(found.outcome.line(), markup=False, soft_wrap=True, style="bold")
    written = [*(also or []), *write_found(found, run_dir, draw, suffix)]
    console.print("wrote " + ", ".join(map(str, written)), markup=False, soft_wrap=True)
    return 0
