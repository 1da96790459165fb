"""Pictures of steering: what each measured input brought, and which is chosen for what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dt.acting.ask_table import AskTable
from dt.report.plots import ACCENT, INK, MUTED


def plot_ask_table(table: AskTable, wanted: np.ndarray, path: Path) -> None:
    """Draw request against expected return of every input, and the inputs chosen for `wanted`.

    A dot's colour is the weight of guidance, its area the episodes that were played.
    """
    figure = Figure(figsize=(7.2, 5.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    weights = table.guidance[:, 0]
    dots = axes.scatter(
        table.requests,
        table.achieved,
        c=np.log2(1 + weights),
        s=8 + 4 * table.episodes,
        cmap="viridis",
        alpha=0.8,
        linewidths=0,
        zorder=2,
    )
    chosen = np.unique(table.chosen(wanted))
    axes.scatter(
        table.requests[chosen],
        table.achieved[chosen],
        s=60 + 4 * table.episodes[chosen],
        facecolors="none",
        edgecolors=ACCENT,
        label="chosen for some wanted return",
        zorder=3,
    )
    ends = [float(min(table.requests.min(), wanted.min())), float(table.requests.max())]
    axes.plot(ends, ends, color=MUTED, linestyle="--", linewidth=1, label="asked = achieved")
    axes.set_xlabel("request")
    axes.set_ylabel("return it is expected to bring")
    axes.spines[["top", "right"]].set_visible(False)
    bar = figure.colorbar(dots, ax=axes, label="weight of guidance")
    shown = np.unique(weights)
    bar.set_ticks(np.log2(1 + shown).tolist(), labels=[f"{weight:g}" for weight in shown])
    measured = table.measured
    figure.suptitle(
        f"{table.env_id}, update {table.checkpoint_step}: {len(table.requests)} inputs, "
        f"{measured['episodes']} episodes",
        fontsize=10,
        color=INK,
        x=0.01,
        ha="left",
    )
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    figure.savefig(path)
