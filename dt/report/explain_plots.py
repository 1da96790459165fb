"""Pictures of explanations and interventions: where answers come from, and what edits restore."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dt.report.plots import ACCENT, INK, MUTED
from dt.steering.explaining import Explained, Owed
from dt.steering.intervening import Intervened
from dt.steering.patching import Patched

COLOURS = {"return": ACCENT, "observation": "#1d4ed8", "action": "#047857"}
MOST_BARS = 14


def plot_explained(found: Explained, path: Path) -> None:
    """Draw the judged attribution, its controls, the dose-response and the smallest edits."""
    figure = Figure(figsize=(11.0, 7.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    (steps, features, deleted), (checks, dose, edits) = figure.subplots(2, 3)
    judged = found.owed[0]
    _draw_steps(steps, judged)
    _draw_features(features, judged)
    _draw_deletion(deleted, judged)
    _draw_checks(checks, found)
    _draw_dose(dose, found)
    _draw_edits(edits, found)
    for axes in (steps, features, deleted, checks, dose, edits):
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(9)
    figure.suptitle(
        f"{found.outcome.source}: {found.answer}, by {judged.method}", fontsize=10, color=INK
    )
    figure.savefig(path)


def _draw_steps(axes: Axes, owed: Owed) -> None:
    for name, sizes in owed.steps_back.items():
        total = sizes.sum(axis=1)
        axes.plot(
            np.where(total > 0, total, np.nan),
            label=name,
            color=COLOURS[name],
            marker=".",
            linewidth=1,
        )
    axes.set_xlabel("timesteps before the action")
    axes.set_ylabel("size of what is owed")
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=8)
    axes.set_title("modality and timestep")


def _draw_features(axes: Axes, owed: Owed) -> None:
    bars = [
        (float(size), f"{name} {feature}" if sizes.shape[1] > 1 else name, COLOURS[name])
        for name, sizes in owed.steps_back.items()
        for feature, size in enumerate(sizes.sum(axis=0))
    ]
    bars = sorted(bars, reverse=True)[:MOST_BARS][::-1]
    axes.barh([label for _, label, _ in bars], [size for size, _, _ in bars])
    for patch, (_, _, colour) in zip(axes.patches, bars, strict=True):
        patch.set_facecolor(colour)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_title("feature, all timesteps together")


def _draw_deletion(axes: Axes, owed: Owed) -> None:
    deletion = owed.deletion
    axes.plot(deletion.shares, deletion.ordered, color=ACCENT, label="most owed first")
    axes.plot(deletion.shares, deletion.random, color=MUTED, label="random order")
    axes.set_xlabel("share of inputs deleted")
    axes.set_ylabel("answer")
    axes.legend(frameon=False, fontsize=8)
    axes.set_title(f"deletion (p = {deletion.p_value:.1g})")


def _draw_checks(axes: Axes, found: Explained) -> None:
    names = [each.method for each in found.owed][::-1]
    values = [each.random_correlation for each in found.owed][::-1]
    colours = [ACCENT if each.is_sound else MUTED for each in found.owed][::-1]
    axes.barh(names, values, color=colours)
    axes.axvline(0.3, color=INK, linewidth=1, linestyle="--")
    axes.set_xlim(-0.4, 1.0)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_title("rank correlation with randomised weights")


def _draw_dose(axes: Axes, found: Explained) -> None:
    dose = found.dose
    if dose is None:
        axes.text(0.5, 0.5, "told no return", ha="center", transform=axes.transAxes)
        return
    for number in range(dose.actions.shape[1]):
        (line,) = axes.plot(dose.returns, dose.actions[:, number], label=f"{number}")
        axes.fill_between(
            dose.returns,
            dose.low[:, number],
            dose.high[:, number],
            color=line.get_color(),
            alpha=0.15,
            linewidth=0,
        )
    axes.set_xlabel("return asked for")
    axes.set_ylabel("action" if found.distance is not None else "probability")
    axes.legend(frameon=False, fontsize=8, title="number" if found.distance else "choice")
    axes.set_title("dose and response, mean of contexts")


def _draw_edits(axes: Axes, found: Explained) -> None:
    sizes = [[size for size in edit.sizes if size is not None] for edit in found.edits]
    rng = np.random.default_rng(0)
    for place, each in enumerate(sizes):
        axes.scatter(each, place + rng.uniform(-0.15, 0.15, len(each)), s=10, color=ACCENT)
    labels = [f"{edit.of}\n({100 * edit.reached:.0f} %)" for edit in found.edits]
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.set_xlabel("length, deviations of the data")
    if any(sizes):
        axes.set_xscale("log")
    does = "flips it" if found.distance is None else f"moves it by {found.distance:g}"
    axes.set_title(f"smallest edit that {does}")


def plot_intervened(found: Intervened, path: Path) -> None:
    """Draw what came over what was asked, with the edit and without it, and each pair's change."""
    figure = Figure(figsize=(9.0, 4.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    returns, change = figure.subplots(1, 2)
    targets = np.array([row.target for row in found.rows])
    for name, colour in (("intact", MUTED), ("edited", ACCENT)):
        played = [getattr(row, name) for row in found.rows]
        returns.plot(targets, [each.mean() for each in played], color=colour, label=name)
        for target, each in zip(targets, played, strict=True):
            returns.scatter(np.full(len(each), target), each, s=8, color=colour, alpha=0.5)
    ends = [targets.min(), targets.max()]
    returns.plot(ends, ends, color=INK, linewidth=1, linestyle="--", label="asked = achieved")
    returns.set_xlabel("return asked for")
    returns.set_ylabel("return achieved")
    returns.legend(frameon=False, fontsize=8)
    values = np.array([row.difference.value for row in found.rows])
    intervals = np.array([row.difference.ci95 or (0.0, 0.0) for row in found.rows])
    change.errorbar(
        targets,
        values,
        yerr=np.abs(intervals.T - values),
        color=ACCENT,
        fmt="o",
        markersize=4,
    )
    change.axhline(0.0, color=INK, linewidth=1, linestyle="--")
    change.set_xlabel("return asked for")
    change.set_ylabel("edited less intact, same seeds, 95 %")
    for axes in (returns, change):
        axes.spines[["top", "right"]].set_visible(False)
    options = found.outcome.options
    figure.suptitle(
        f"{found.outcome.source}: {options['how']} {found.point}, steps {options['first']} to "
        f"{options['last'] if options['last'] >= 0 else 'the end'}",
        fontsize=10,
        color=INK,
    )
    figure.savefig(path)


def plot_patched(found: Patched, path: Path) -> None:
    """Draw the share of an edit's effect that clean values restore, by layer, timestep and head."""
    layers, steps, heads = found.heads.shape
    panels = [("residual stream", found.residual), ("mlp", found.mlp)]
    panels += [(f"head {head}", found.heads[:, :, head]) for head in range(heads)]
    figure = Figure(figsize=(3.6 * len(panels), 3.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, shares) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        drawn = axes.imshow(
            shares[:, ::-1], aspect="auto", cmap="RdBu_r", vmin=-1.0, vmax=1.0, origin="lower"
        )
        ticks = np.linspace(0, steps - 1, min(steps, 5)).round().astype(int)
        axes.set_xticks(ticks, [str(steps - 1 - tick) for tick in ticks])
        axes.set_yticks(range(len(shares)))
        axes.set_xlabel("timesteps before the action")
        axes.set_title(name, fontsize=9)
    figure.axes[0].set_ylabel("layer")
    figure.colorbar(drawn, ax=figure.axes, label="share restored", shrink=0.9)
    options = found.outcome.options
    figure.suptitle(
        f"{found.outcome.source}: {options['how']} {found.point}, clean values put back "
        f"({layers} blocks; all of them restore {found.everything:.5f})",
        fontsize=10,
        color=INK,
    )
    figure.savefig(path)
