"""Pictures of contests: learning curves, calibrations side by side, probability of improvement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dt.evaluation.card import AggregateCard, rising
from dt.evaluation.contest import Contender, Contest, Curve
from dt.evaluation.scores import interval_text
from dt.report.plots import ACCENT, INK, MUTED, draw_returns

# Okabe and Ito's, which most eyes tell apart.
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c8c8c")
COLUMNS = 4  # panels side by side
# Of a log, where it has them: what was trained on, and what evaluations on the way came to.
LEARNED = {
    "loss": "training loss",
    "evaluation/return_at_top": "return at the top target",
    "evaluation/error_over_range": "error over the range",
}


def plot_learning(contest: Contest, path: Path) -> bool:
    """Draw each contender's log: its runs as faint lines, and their mean.

    Returns:
        Whether there is a log to draw.
    """
    shown = {
        name: label
        for name, label in LEARNED.items()
        if any(contender.curves(name) for contender in contest.contenders)
    }
    if not shown:
        return False
    figure = _figure((6.4, 3.2 * len(shown) + 0.8))
    panels = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axes, (name, label) in zip(panels, shown.items(), strict=True):
        for number, contender in enumerate(contest.contenders):
            colour = COLOURS[number % len(COLOURS)]
            _draw_curves(axes, contender.curves(name), colour, contender.name)
        axes.set_ylabel(label)
        axes.set_xlabel("updates")
        _plain(axes)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.suptitle(f"{contest.env_id}: learning curves", fontsize=10, color=INK, x=0.01, ha="left")
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.savefig(path)
    return True


def plot_calibrations(contest: Contest, path: Path) -> bool:
    """Draw what each contender achieved over what it was asked for, on the same axes.

    What takes no return, or was asked for one alone, is a level line with its interval.
    """
    count = len(contest.contenders)
    columns = min(COLUMNS, count)
    lines = -(-count // columns)
    figure = _figure((max(3.0, 2.3 * columns), 2.6 * lines + 0.8))
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in panels[count:]:
        axes.set_axis_off()
    asked = [row.target for each in contest.contenders for row in each.card.targets]
    ends = (min(asked), max(asked)) if min(asked) < max(asked) else (asked[0] - 1, asked[0] + 1)
    for axes, contender in zip(panels, contest.contenders, strict=False):
        _draw_calibration(axes, contender, ends)
        axes.set_title(contender.name, fontsize=9, color=INK)
        _plain(axes)
    figure.supxlabel("target return", fontsize=9)
    figure.supylabel("achieved return", fontsize=9)
    title = f"{contest.env_id}: asked and achieved, and 95 % intervals"
    figure.suptitle(title, fontsize=10, color=INK, x=0.01, ha="left")
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
    figure = _figure((6.4, 1.6 + 0.45 * len(shown)))
    axes = figure.subplots()
    axes.axvline(0.5, color=MUTED, linestyle="--", linewidth=1)
    for place, (_, change) in enumerate(shown):
        if change.ci95 is not None:
            axes.plot(change.ci95, [place, place], color=ACCENT, alpha=0.4, linewidth=6)
        axes.plot(change.value, place, "o", color=ACCENT)
        words = f"{change.value:.2f} ({interval_text(change.ci95, '.2f')})"
        axes.text(1.04, place, words, fontsize=9, color=INK, va="center")
    axes.set_yticks(range(len(shown)), [contender.name for contender, _ in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel(f"P(more return than {first}), each at its best target")
    _plain(axes)
    title = f"{contest.env_id}: probability of improvement, bootstrap over {contest.unit}"
    figure.suptitle(title, fontsize=10, color=INK, x=0.01, ha="left")
    figure.savefig(path)
    return True


def _draw_curves(axes: Axes, curves: list[Curve], colour: str, name: str) -> None:
    """Draw runs, and their mean where all logged the same updates."""
    if not curves:
        return
    alike = all(np.array_equal(curve.steps, curves[0].steps) for curve in curves)
    several = alike and len(curves) > 1
    for curve in curves:
        faint = 0.3 if several else 1.0
        axes.plot(curve.steps, curve.values, color=colour, alpha=faint, linewidth=1)
    centre = np.mean([curve.values for curve in curves], axis=0) if alike else np.array([np.nan])
    steps = curves[0].steps if alike else np.array([np.nan])
    axes.plot(steps, centre, color=colour, linewidth=2, label=name)


def _draw_calibration(axes: Axes, contender: Contender, ends: tuple[float, float]) -> None:
    rows = rising(contender.card)
    if contender.card.takes_return and len({row.target for row in rows}) > 1:
        draw_returns(axes, rows, aggregate=isinstance(contender.card, AggregateCard))
        return
    row = rows[0]
    if row.return_ci95 is not None:
        axes.fill_between(ends, *row.return_ci95, color=ACCENT, alpha=0.2, linewidth=0)
    axes.plot(ends, ends, color=MUTED, linestyle="--", linewidth=1)
    axes.plot(ends, [row.centre] * 2, color=ACCENT, linewidth=2)
    words = "takes no return" if not contender.card.takes_return else f"asked {row.target:.5g}"
    axes.text(0.04, 0.96, words, transform=axes.transAxes, fontsize=8, color=INK, va="top")


def _figure(size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
