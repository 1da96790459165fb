"""What does a score card look like?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK, ACCENT, MUTED = "#1f2933", "#c2410c", "#9aa5b1"


def plot_calibration(card: dict[str, Any], path: Path) -> None:
    """Target against achieved return, its interval, and the data's returns beneath."""
    rows = sorted(card["targets"], key=lambda row: row["target"])
    targets = np.array([row["target"] for row in rows])
    means = np.array([row["return_mean"] for row in rows])
    low, high = np.array([row["return_ci95"] for row in rows]).T
    figure = Figure(figsize=(6.4, 6.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    main, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])

    span = [min(targets.min(), means.min()), max(targets.max(), means.max())]
    main.plot(span, span, color=MUTED, linestyle="--", linewidth=1, label="asked = achieved")
    for row in rows:
        returns = row["episode_returns"]
        main.plot([row["target"]] * len(returns), returns, ".", color=INK, alpha=0.15, ms=4)
    main.fill_between(targets, low, high, color=ACCENT, alpha=0.2, linewidth=0)
    main.plot(targets, means, "o-", color=ACCENT, label="mean and 95 % interval")
    main.set_ylabel("achieved return")
    main.set_title(_title(card), fontsize=10, color=INK, loc="left")
    main.legend(frameon=False, loc="upper left")

    histogram = card["dataset"]["return_histogram"]
    below.stairs(histogram["counts"], histogram["edges"], fill=True, color=MUTED)
    below.set_ylabel("episodes")
    below.set_xlabel("target return (above) and returns in the data (below)")
    for axes in (main, below):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def _title(card: dict[str, Any]) -> str:
    first = f"{card['env_id']}, update {card['checkpoint_step']} ({card['selection']})"
    if card["baseline"]:
        first += f", baseline {card['baseline']}"
    calibration = card["calibration"]
    if calibration is None:
        return first
    return (
        f"{first}\nslope {calibration['slope']:.2f}, "
        f"error {100 * calibration['mae_over_range']:.1f} % of the range, "
        f"{calibration['verdict']}"
    )
