"""Pictures of what inputs do: doses of guidance, searches beside chance, curves of reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dt.report.plots import ACCENT, INK, MUTED
from dt.steering.guiding import GuideFound
from dt.steering.optimizing import OptimizeFound, Scores
from dt.steering.optimizing_rollouts import PlayedInputs
from dt.steering.reaching import ReachFound

SHADES = ("#9ecae1", "#4292c6", "#08519c", "#fd8d3c", "#d94801")  # of targets, from low to high


def plot_search(found: OptimizeFound, path: Path) -> None:
    """Draw each context's score before and after, and returns with and without where played."""
    panels = 2 + (found.played is not None)
    figure = _figure(3.6 * panels, 3.9)
    axes = np.atleast_1d(figure.subplots(1, panels))
    _before_and_after(axes[0], found.searched, "contexts searched for", found.what)
    _before_and_after(axes[1], found.others, "others", found.what)
    if found.played is not None:
        played = found.played
        returns = {"without": played.plain, "random": played.random, "found": played.steered}
        _returns(axes[2], returns, found.played.wanted)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    options = found.outcome.options
    title = f"{options['space']} by {found.method}; wanted: {found.wanted}"
    figure.suptitle(title, fontsize=9, color=INK, x=0.01, ha="left")
    figure.savefig(path)


def plot_played_inputs(found: PlayedInputs, path: Path) -> None:
    """Draw what every tried input brought, and the found one on new seeds."""
    figure = _figure(7.2, 3.9)
    left, right = figure.subplots(1, 2)
    left.plot(found.tried, ".", color=MUTED)
    left.plot(np.arange(len(found.tried)), _best_so_far(found), color=ACCENT)
    left.set_xlabel("input tried")
    left.set_ylabel("mean return")
    left.spines[["top", "right"]].set_visible(False)
    returns = {"unedited": found.unedited, "random": found.random, "found": found.found}
    _returns(right, returns, found.wanted)
    figure.savefig(path)


def _best_so_far(found: PlayedInputs) -> np.ndarray:
    if found.wanted is None:
        return np.maximum.accumulate(found.tried)
    miss = np.abs(found.tried - found.wanted)
    best = [int(np.argmin(miss[: i + 1])) for i in range(len(miss))]
    return found.tried[best]


def _before_and_after(axes: Axes, scores: Scores, title: str, what: str) -> None:
    ends = [min(scores.unedited.min(), scores.found.min()), max(scores.found.max(), 0.0)]
    axes.plot(ends, ends, color=MUTED, linestyle="--", linewidth=1)
    if scores.exact is not None:
        axes.plot(scores.unedited, scores.exact, "o", mfc="none", color=INK, ms=7, label="exact")
    axes.plot(scores.unedited, scores.random, "x", color=MUTED, ms=5, label="random")
    axes.plot(scores.unedited, scores.found, ".", color=ACCENT, label="found")
    axes.set_title(title, fontsize=9, color=INK)
    axes.set_xlabel("unedited", fontsize=8)
    axes.set_ylabel(what, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _returns(axes: Axes, returns: dict[str, np.ndarray], wanted: float | None) -> None:
    """Draw each episode's return, a column a kind."""
    for place, values in enumerate(returns.values()):
        spread = np.random.default_rng(0).uniform(-0.12, 0.12, len(values))
        color = ACCENT if place == len(returns) - 1 else MUTED
        axes.plot(place + spread, values, ".", color=color, alpha=0.6)
        axes.plot([place - 0.25, place + 0.25], [values.mean()] * 2, color=INK)
    if wanted is not None:
        axes.axhline(wanted, color=INK, linestyle=":", linewidth=1)
        axes.set_title("dotted: wanted", fontsize=8, color=MUTED)
    axes.set_xticks(range(len(returns)), list(returns))
    axes.set_ylabel("return")
    axes.spines[["top", "right"]].set_visible(False)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plot_doses(found: GuideFound, path: Path) -> None:
    """Draw what each weight of guidance brings, how far actions move, and how many are bound."""
    figure = _figure(10.0, 3.7)
    returns, distance, bounds = figure.subplots(1, 3)
    targets = sorted({dose.target for dose in found.doses})
    for place, target in enumerate(targets):
        doses = sorted((d for d in found.doses if d.target == target), key=lambda d: d.weight)
        weights = [d.weight for d in doses]
        color = SHADES[place % len(SHADES)]
        error = [d.returns.std() / np.sqrt(len(d.returns)) for d in doses]
        means = [d.returns.mean() for d in doses]
        returns.errorbar(weights, means, error, color=color, marker=".", label=f"{target:.5g}")
        returns.axhline(target, color=color, linestyle=":", linewidth=1)
        distance.plot(weights, [d.distance for d in doses], color=color, marker=".")
        bounds.plot(weights, [100 * d.at_bounds for d in doses], color=color, marker=".")
    for axes, what in (
        (returns, "mean return (dotted: asked)"),
        (distance, "distance from the unconditional action"),
        (bounds, "actions at the bounds, %"),
    ):
        axes.set_xlabel("weight of guidance")
        axes.set_ylabel(what, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(title="asked", loc="outside right upper", frameon=False, fontsize=8)
    figure.savefig(path)


def plot_reach(found: ReachFound, path: Path) -> None:
    """Draw the share of wanted outputs over the number of edits."""
    figure = _figure(4.8, 3.7)
    axes = figure.subplots()
    known = [(k, x.mean()) for k, x in zip(found.edits, found.exact, strict=True) if x is not None]
    drawn = [x.mean() for x in found.random]
    axes.plot(found.edits, drawn, color=MUTED, marker="x", label="drawn edits")
    axes.plot(*zip(*known, strict=True), color=ACCENT, marker="o", label="exact: all edits")
    axes.set_xlabel(f"edits of {found.outcome.options['space']}")
    axes.set_ylabel("share of wanted outputs")
    axes.set_ylim(0.0, 1.02)
    axes.set_xticks(list(found.edits))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    figure.savefig(path)
