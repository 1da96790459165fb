"""Contests as one table of 80 columns, as Markdown and as JSON."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from dt.data.card.steerability import number_format
from dt.evaluation.contest import Contender, Contest
from dt.evaluation.scores import interval_text
from dt.files import write_json
from dt.report.contest_plots import plot_calibrations, plot_improvement, plot_learning
from dt.report.sheet import Sheet


def print_contest(contest: Contest, console: Console) -> None:
    """Print a row a contender, and how likely each is better than the first."""
    contest_sheet(contest).print(console)


def contest_sheet(contest: Contest) -> Sheet:
    """Lay out a contest."""
    numbers = [row.target for each in contest.contenders for row in each.card.targets]
    numbers += [row.centre for each in contest.contenders for row in each.card.targets]
    form = number_format([min(numbers), max(numbers)])
    first = contest.contenders[0]
    notes = [
        "return: at the target that brought most, fixed; the choice favours many targets",
        "top: the return at the highest target within the data",
    ]
    if any(contest.improvements):
        notes.append(
            f"P: of more return than {first.name}, by bootstrap over {contest.unit}\n"
            f"   (Agarwal et al. 2021); of few runs its interval is too narrow"
        )
    for contender, change in zip(contest.contenders, contest.improvements, strict=True):
        if change is not None:
            shown = f"{change.value:.2f} ({interval_text(change.ci95, '.2f')})"
            notes.append(f"P {contender.name}: {shown}")
    return Sheet(
        title=f"{contest.env_id}, {_drawn(first, contest)}",
        columns=["variant", "return", "95 % interval", "top", "slope", "error", "upd/s"],
        rows=[_row(each, form) for each in contest.contenders],
        notes=notes,
        verdict="",
    )


def write_contest(contest: Contest, directory: Path) -> list[Path]:
    """Write compare.json and compare.md, and the pictures that there are numbers for.

    Returns:
        The files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files = [directory / "compare.json", directory / "compare.md"]
    write_json(files[0], contest.to_json())
    files[1].write_text(contest_sheet(contest).markdown())
    plots = {
        "learning": plot_learning,
        "calibration": plot_calibrations,
        "improvement": plot_improvement,
    }
    for name, plot in plots.items():
        file = directory / f"compare-{name}.png"
        files += [file] if plot(contest, file) else []
    return files


def _row(contender: Contender, form: str) -> list[str]:
    card, best = contender.card, contender.best
    speed = contender.updates_per_second
    cells = [contender.name, f"{best.centre:{form}}", interval_text(best.return_ci95, form)]
    cells += [f"{contender.top.centre:{form}}" if card.takes_return else "-"]
    if card.calibration is None:
        cells += ["-", "-"]
    else:
        error = 100 * card.calibration.mae_over_range.value
        cells += [f"{card.calibration.slope.value:.2f}", f"{error:.1f} %"]
    return [*cells, "-" if speed is None else f"{speed:.{1 if speed < 100 else 0}f}"]


def _drawn(contender: Contender, contest: Contest) -> str:
    """Say how much was played."""
    card = contender.card
    episodes = f"{card.episodes} episodes a target"
    runs = len(contender.best.sample)
    return episodes if contest.unit == "episodes" else f"{runs} runs, {episodes}"
