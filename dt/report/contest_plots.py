"""Pictures of contests: learning curves, calibrations side by side, probability of improvement."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten, wrap
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from dt.evaluation.card import AggregateCard, rising
from dt.evaluation.contest import Contender, Contest, Curve
from dt.evaluation.scores import interval_text
from dt.report.plots import ACCENT, INK, MUTED, draw_returns

# Okabe and Ito's, which most eyes tell apart; whoever comes after the last has another line.
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c8c8c")
LINES = ("-", "--", ":", "-.")
PANEL_COLUMNS = 4  # calibrations side by side; of more than 16, as many as there are rows
NAME_LENGTH = 24  # characters of a name in a line over a panel
SPREAD = 10.0  # highest loss over lowest from which they are drawn on a logarithmic scale


class Course(NamedTuple):
    """A number of the log: what its panel says, and the factor that it is drawn by."""

    label: str
    factor: float = 1.0
    is_loss: bool = False


# Of a log, where it has them: what was trained on, and what evaluations on the way came to.
LEARNED = {
    "loss": Course("training loss", is_loss=True),
    "holdout_loss": Course("loss of held-out episodes", is_loss=True),
    "evaluation/return_at_top": Course("return at the highest target"),
    "evaluation/error_over_range": Course("error, % of the targets' range", 100.0),
}


def plot_learning(contest: Contest, path: Path) -> bool:
    """Draw each contender's log: its runs as faint lines, and their mean.

    Returns:
        Whether there is a log to draw; a number that was logged once is no curve.
    """
    logs = {
        name: [_courses(contender, name) for contender in contest.contenders] for name in LEARNED
    }
    shown = {name: curves for name, curves in logs.items() if any(curves)}
    if not shown:
        return False
    columns = min(2, len(shown))
    lines = -(-len(shown) // columns)
    figure = _figure((4.2 * columns + (0 if columns > 1 else 2.2), 2.9 * lines + 0.8))
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    legend: dict[str, Line2D] = {}
    losses = [LEARNED[name].is_loss for name in shown]
    if losses[:2] == [True, True]:  # on one scale: the gap between the two is over-fitting
        panels[1].sharey(panels[0])
    for axes, (name, curves) in zip(panels, shown.items(), strict=False):
        for place, (contender, own) in enumerate(zip(contest.contenders, curves, strict=True)):
            if own:
                legend[contender.name] = _draw_curves(axes, own, LEARNED[name].factor, place)
        axes.set_title(LEARNED[name].label, fontsize=9, color=INK, loc="left")
        axes.set_xlabel("updates", fontsize=9)
        _plain(axes)
        if LEARNED[name].factor != 1.0:
            axes.set_ylim(bottom=0)  # a share
    _scale_losses([axes for axes, loss in zip(panels, losses, strict=False) if loss])
    several = any(len(own) > 1 for curves in shown.values() for own in curves)
    words = ": learning curves" + ("; faint: runs, bold: their mean" if several else "")
    _titled(figure, contest.env_id + words)
    names = [name for name in (each.name for each in contest.contenders) if name in legend]
    _legend(figure, [legend[name] for name in names], names)
    figure.savefig(path)
    return True


def plot_calibrations(contest: Contest, path: Path) -> bool:
    """Draw what each contender achieved over what it was asked for, on the same axes.

    What takes no return, or was asked for one alone, is a level line with its interval.
    """
    count = len(contest.contenders)
    columns = min(count, max(PANEL_COLUMNS, math.ceil(math.sqrt(count))))
    lines = -(-count // columns)
    figure = _figure((max(3.4, 2.3 * columns), 2.4 * lines + 1.2))
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in panels[count:]:
        axes.set_axis_off()
    asked = [row.target for each in contest.contenders for row in each.card.targets]
    ends = (min(asked), max(asked)) if min(asked) < max(asked) else (asked[0] - 1, asked[0] + 1)
    legend: dict[str, Artist] = {}
    for place, (axes, contender) in enumerate(zip(panels, contest.contenders, strict=False)):
        _draw_calibration(axes, contender, ends)
        handles, labels = axes.get_legend_handles_labels()
        legend |= dict(zip(labels, handles, strict=True))
        title = "\n".join(wrap(contender.name, NAME_LENGTH))
        axes.set_title(title, fontsize=9, color=INK)
        axes.set_xlabel("target return" if place + columns >= count else "", fontsize=9)
        axes.set_ylabel("" if place % columns else "achieved return", fontsize=9)
        axes.tick_params(labelbottom=place + columns >= count)
        _plain(axes)
    _titled(figure, f"{contest.env_id}: asked and achieved", 26 * columns)
    _legend(figure, list(legend.values()), list(legend))
    figure.savefig(path)
    return True


def plot_improvement(contest: Contest, path: Path) -> bool:
    """Draw the probability that each contender is better than the first, with its interval.

    Returns:
        Whether there is anyone to hold against the first.
    """
    pairs = zip(contest.contenders, contest.improvements, strict=True)
    shown = [(contender, change) for contender, change in pairs if change is not None]
    if not shown:
        return False
    first = contest.contenders[0].name
    figure = _figure((7.2, 1.9 + 0.4 * len(shown)))
    axes = figure.subplots()
    axes.axvline(0.5, color=MUTED, linestyle="--", linewidth=1)
    for place, (_, change) in enumerate(shown):
        axes.axhline(place, color=MUTED, alpha=0.3, linewidth=1)
        if change.ci95 is not None:
            axes.plot(change.ci95, [place, place], color=ACCENT, alpha=0.4, linewidth=8)
        axes.plot(change.value, place, "|", color=ACCENT, ms=16, mew=3, clip_on=False)
        words = f"{change.value:.2f} ({interval_text(change.ci95, '.2f')})"
        axes.text(1.04, place, words, fontsize=9, color=INK, va="center")
    names = ["\n".join(wrap(contender.name, NAME_LENGTH)) for contender, _ in shown]
    axes.set_yticks(range(len(shown)), names)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    named = shorten(first, NAME_LENGTH, placeholder="...")
    axes.set_xlabel(f"chance of more return than {named}, each at its best target", fontsize=9)
    for at, words in ((0.25, f"{named} brings more"), (0.75, f"brings more than {named}")):
        axes.annotate(
            words, (at, 1.0), (0, 4), xycoords="axes fraction", textcoords="offset points",
            ha="center", fontsize=8, color=INK,
        )  # fmt: skip
    _plain(axes)
    _titled(figure, f"{contest.env_id}: probability of improvement, bootstrap over {contest.unit}")
    figure.savefig(path)
    return True


def _courses(contender: Contender, name: str) -> list[Curve]:
    """Read the curves of a number that have more than one point."""
    return [curve for curve in contender.curves(name) if len(curve.steps) > 1]


def _draw_curves(axes: Axes, curves: list[Curve], factor: float, place: int) -> Line2D:
    """Draw runs, and their mean at the updates that all logged: an interrupted run has others too.

    Args:
        place: of the contender, which decides colour and line.

    Returns:
        The line that the legend shows.
    """
    colour = COLOURS[place % len(COLOURS)]
    line = LINES[place // len(COLOURS) % len(LINES)]
    common = functools.reduce(np.intersect1d, [curve.steps for curve in curves])
    several = len(curves) > 1 and len(common) > 1
    drawn = [
        axes.plot(
            curve.steps,
            factor * curve.values,
            color=colour,
            linestyle=line,
            alpha=0.3 if several else 1.0,
            linewidth=1 if several else 1.8,
        )
        for curve in curves
    ]
    if several:
        rows = [np.searchsorted(curve.steps, common) for curve in curves]
        shared = [curve.values[row] for curve, row in zip(curves, rows, strict=True)]
        mean = factor * np.mean(shared, axis=0)
        drawn = [axes.plot(common, mean, color=colour, linestyle=line, linewidth=2)]
    return drawn[0][0]


def _scale_losses(panels: list[Axes]) -> None:
    """Draw losses on a logarithmic scale where they are positive and fall far."""
    values = np.concatenate([line.get_ydata() for axes in panels for line in axes.lines] or [[1.0]])
    if values.min() <= 0 or values.max() < SPREAD * values.min():
        return
    for axes in panels:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _draw_calibration(axes: Axes, contender: Contender, ends: tuple[float, float]) -> None:
    rows = rising(contender.card)
    axes.plot(ends, ends, color=MUTED, linestyle="--", linewidth=1, label="asked = achieved")
    if contender.card.takes_return and len({row.target for row in rows}) > 1:
        aggregate = isinstance(contender.card, AggregateCard)
        draw_returns(axes, rows, aggregate=aggregate, identity=False)
        return
    row = rows[0]
    if row.return_ci95 is not None:
        axes.fill_between(ends, *row.return_ci95, color=ACCENT, alpha=0.2, linewidth=0)
    axes.plot(ends, [row.centre] * 2, color=ACCENT, linewidth=2)
    words = "takes no return" if not contender.card.takes_return else f"asked {row.target:.5g}"
    axes.text(0.04, 0.96, words, transform=axes.transAxes, fontsize=8, color=INK, va="top")


def _figure(size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _titled(figure: Figure, words: str, width: int = 80) -> None:
    """Write a title of as many lines as it needs."""
    figure.suptitle("\n".join(wrap(words, width)), fontsize=10, color=INK, x=0.01, ha="left")


def _legend(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """Put the legend beneath all panels, in as many columns as its longest name leaves room for."""
    inches = 0.6 + 0.075 * max(map(len, names))
    columns = max(1, min(len(names), int(figure.get_figwidth() / inches)))
    figure.legend(
        handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=8
    )


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
