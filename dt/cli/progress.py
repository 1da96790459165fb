"""How far has a long job come? A bar, with the numbers that matter beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


@contextmanager
def episode_progress(console: Console, total: int) -> Iterator[Callable[[int, int], None]]:
    """A bar of episodes that ended; yields what `run_episodes` calls after every step."""
    columns = (
        TextColumn("playing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("episodes, {task.fields[steps]} steps"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("playing", total=total, steps=0)
        yield lambda done, steps: progress.update(task, completed=done, steps=steps)


@contextmanager
def training_progress(
    console: Console, total: int
) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """A bar of updates; yields what `train` calls after every round."""
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=total, numbers="compiling")

        def on_round(step: int, metrics: dict[str, float]) -> None:
            numbers = f"loss {metrics['loss']:.4f}, {metrics['updates_per_second']:.1f} updates/s"
            progress.update(task, completed=step, numbers=numbers)

        yield on_round


@contextmanager
def reading_progress(console: Console) -> Iterator[Callable[[int], None]]:
    """A count of steps read, shown only if there are any to read; yields what a build calls."""
    columns = (TextColumn("reading"), BarColumn(), TextColumn("{task.completed} steps"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("reading", total=None, visible=False)
        yield lambda steps: progress.update(task, completed=steps, visible=True)
