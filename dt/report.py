"""How is a score card shown and kept? As a table, as JSON and as a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from dt.checkpoint import write_json
from dt.plots import plot_calibration


def write_card(card: dict[str, Any], directory: Path, name: str = "") -> list[Path]:
    """card.json and calibration.png, or with a name NAME-card.json and NAME-calibration.png."""
    prefix = f"{name}-" if name else ""
    table, picture = directory / f"{prefix}card.json", directory / f"{prefix}calibration.png"
    write_json(table, card)
    plot_calibration(card, picture)
    return [table, picture]


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


def print_card(card: dict[str, Any], console: Console) -> None:
    """The table target / achieved / interval / normalised score, and the calibration under it."""
    title = f"{card['env_id']}, update {card['checkpoint_step']} ({card['selection']}), "
    title += f"{card['episodes']} episodes a target"
    if card["baseline"]:
        title += f", baseline {card['baseline']}"
    table = Table(title=title, title_justify="left")
    for column in ("target", "achieved", "95 % interval", "std", "length"):
        table.add_column(column, justify="right")
    if card["reference"]:
        table.add_column("normalised", justify="right")
    for row in card["targets"]:
        low, high = row["return_ci95"]
        cells = [
            f"{row['target']:.1f}",
            f"{row['return_mean']:.1f}",
            f"{low:.1f} to {high:.1f}",
            f"{row['return_std']:.1f}",
            f"{row['length_mean']:.0f}",
        ]
        if card["reference"]:
            cells.append(f"{row['normalized_score']:.1f}")
        table.add_row(*cells)
    console.print(table)
    if card["reference"]:
        console.print(f"normalised by {card['reference']}'s random and expert returns")
    calibration = card["calibration"]
    if calibration is not None:
        interval = calibration["slope_ci95"]
        between = "({:.3f} to {:.3f})".format(*interval) if interval else "(no interval)"
        console.print(
            f"slope {calibration['slope']:.3f} {between}, error "
            f"{100 * calibration['mae_over_range']:.1f} % of the range, monotone "
            f"{calibration['monotone']}: [bold]{calibration['verdict']}[/bold]"
        )
    seconds, speed = card["wall_seconds"], card["env_steps_per_second"]
    console.print(f"{seconds:.1f} s, {speed:.0f} environment steps/s")
