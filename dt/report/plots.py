"""Pictures of cards: of a policy's scores, and of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dt.data.card.card import DataCard
from dt.data.card.steerability import Steerability
from dt.evaluation.card import AggregateCard, AnyCard, rising
from dt.evaluation.parts import AnyTargetScore
from dt.evaluation.scores import interval_text
from dt.report.card_table import episodes_text
from dt.report.sheet import target_format

INK, ACCENT, MUTED = "#1f2933", "#c2410c", "#9aa5b1"


def plot_calibration(card: AnyCard, path: Path) -> None:
    """Draw target against achieved return, its interval, and the data's returns beneath.

    Of several runs each is a faint line, and the interquartile mean the bold one. Targets beyond
    the data stand on a shaded ground, with hollow marks. A single target is said in words, with
    what came marked among the data's returns.
    """
    rows = rising(card)
    figure = Figure(figsize=(6.4, 6.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(calibration_title(card), fontsize=10, color=INK, x=0.01, ha="left")
    several = card.takes_return and len({row.target for row in rows}) > 1
    main, below = figure.subplots(2, 1, sharex=several, height_ratios=[4, 1] if several else [1, 2])

    histogram = card.dataset.return_histogram
    _draw_histogram(below, histogram.counts, histogram.edges)
    below.set_ylabel("episodes")
    below.spines[["top", "right"]].set_visible(False)
    if several:
        draw_returns(main, rows, aggregate=isinstance(card, AggregateCard))
        if any(row.ood for row in rows):
            _shade_beyond(main, card.dataset.return_percentiles)
        main.set_ylabel("achieved return")
        main.spines[["top", "right"]].set_visible(False)
        below.set_xlabel("target return (above) and returns in the data (below)")
    else:
        main.set_axis_off()
        words = main.text(0.0, 0.5, _in_words(card, rows[0]), fontsize=12, color=INK, va="center")
        words.set_in_layout(False)  # panels keep their width
        _mark(below, rows[0])
        below.set_xlabel("returns in the data")
    # Beneath all panels, where it hides none of what it explains.
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    figure.savefig(path)


def draw_returns(
    axes: Axes, rows: Sequence[AnyTargetScore], aggregate: bool, identity: bool = True
) -> None:
    """Draw every episode as a dot or every run as a line, and the mean with its interval.

    Args:
        rows: of one card, the lowest target first.
        identity: draw where asked equals achieved, too.
    """
    targets = np.array([row.target for row in rows])
    centres = np.array([row.centre for row in rows])
    ood = np.array([row.ood for row in rows])
    # A single episode has no interval: its band has no width.
    bands = [row.return_ci95 or (centre,) * 2 for row, centre in zip(rows, centres, strict=True)]
    low, high = np.array(bands).T
    if identity:
        span = [min(targets.min(), centres.min()), max(targets.max(), centres.max())]
        axes.plot(span, span, color=MUTED, linestyle="--", linewidth=1, label="asked = achieved")
    samples = [row.sample for row in rows]
    if aggregate:
        axes.plot(targets, np.array(samples), color=INK, alpha=0.35, linewidth=1)
        axes.plot([], [], color=INK, alpha=0.35, linewidth=1, label="each run")
        label = "interquartile mean and 95 % interval"
    else:
        # Few dots are dark enough to be seen, and many do not become a bar.
        alpha = float(np.clip(1.5 / np.sqrt(max(map(len, samples))), 0.15, 0.5))
        for target, returns in zip(targets, samples, strict=True):
            axes.plot([target] * len(returns), returns, ".", color=INK, alpha=alpha, ms=4)
        axes.plot([], [], ".", color=INK, alpha=0.5, ms=4, label="each episode")
        label = "mean and 95 % interval"
    axes.fill_between(targets, low, high, color=ACCENT, alpha=0.2, linewidth=0)
    axes.plot(targets, centres, "o-", color=ACCENT, label=label, linewidth=2)
    if ood.any():
        axes.plot(targets[ood], centres[ood], "o", color=ACCENT, mfc="white", zorder=3)


def _in_words(card: AnyCard, row: AnyTargetScore) -> str:
    """Say what a picture of a single dot would show."""
    if not card.takes_return:
        asked = "This model takes no return."
    elif card.acting.expert is not None:
        asked = f"The model chose {row.target:.5g}."
    else:
        asked = f"Asked for {row.target:.5g}, and for nothing else."
    form = target_format([row.target])
    unit = "runs" if isinstance(card, AggregateCard) else "episodes"
    came = f"What came: {row.centre:{form}}, on average over {len(row.sample)} {unit}."
    return f"{asked}\n{came}\n95 % interval: {interval_text(row.return_ci95, form)}."


def _mark(axes: Axes, row: AnyTargetScore) -> None:
    """Mark what came among the data's returns."""
    if row.return_ci95 is not None:
        axes.axvspan(*row.return_ci95, color=ACCENT, alpha=0.2, linewidth=0)
    axes.axvline(row.centre, color=ACCENT, linewidth=2, label="mean and 95 % interval of what came")


def _shade_beyond(axes: Axes, percentiles: dict[str, float]) -> None:
    """Where the data holds no return; the picture stays as wide as targets and data made it."""
    left, right = axes.get_xlim()
    label = "beyond the data"
    for begin, end in ((left, percentiles["p0"]), (percentiles["p100"], right)):
        if begin < end:
            axes.axvspan(begin, end, color=MUTED, alpha=0.2, linewidth=0, label=label)
            label = "_"
    axes.set_xlim(left, right)


def calibration_title(card: AnyCard) -> str:
    """Say what was played and how returns follow, with one number for the error."""
    if isinstance(card, AggregateCard):
        who = f"{len(card.runs)} runs"
    else:
        who = f"update {card.checkpoint_step}"
    first = f"{card.env_id}, {who} ({card.selection}), {episodes_text(card)}"
    first += ", baseline null" if card.acting.null else ""
    first += ", calibrated" if card.acting.calibrated else ""
    calibration = card.calibration
    if calibration is None:
        return "\n".join([*wrap(first, 88), *wrap(card.verdict, 88)])
    parts = [f"slope {calibration.slope.value:.2f}"]
    if " off by " not in calibration.verdict:  # which is the error, in words
        parts += [f"error {100 * calibration.mae_over_range.value:.1f} % of the range"]
    second = ", ".join([*parts, calibration.verdict])
    return "\n".join([*wrap(first, 88), *wrap(second.replace(" %", "\u00a0%"), 88)])


def plot_data_card(card: DataCard, returns: np.ndarray, lengths: np.ndarray, path: Path) -> None:
    """Draw returns with an evaluation's targets, lengths, and the one against the other."""
    figure = Figure(figsize=(9.0, 6.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplot_mosaic("RR;LS", height_ratios=[3, 2])
    figure.suptitle(_data_title(card), fontsize=10, color=INK, x=0.01, ha="left")

    if card["returns"] is not None:
        _draw_histogram(panels["R"], **card["returns"]["histogram"])
        _draw_targets(panels["R"], card["steerability"])
    panels["R"].set_xlabel("return")
    panels["R"].set_ylabel("episodes")

    _draw_histogram(panels["L"], **card["lengths"]["histogram"])
    panels["L"].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    if np.ptp(lengths) == 0:  # a bar among other lengths, not a wall
        panels["L"].set_xlim(lengths[0] - 5, lengths[0] + 5)
    panels["L"].set_xlabel("length")
    panels["L"].set_ylabel("episodes")

    every = -(-len(returns) // 20_000)  # more points make a slow picture, not a clearer one
    # Where all are equally long, the order of the log shows what the lengths cannot.
    alike = np.ptp(lengths) == 0
    across = np.arange(len(returns)) if alike else lengths
    alpha = float(np.clip(12 / np.sqrt(len(returns)), 0.08, 0.8))
    size = 4 if len(returns) > 100 else 7
    x, y = across[::every], returns[::every]
    panels["S"].plot(x, y, ".", color=INK, alpha=alpha, ms=size, mew=0)
    panels["S"].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    panels["S"].ticklabel_format(useOffset=False)
    panels["S"].set_xlabel("episode, in the order of the data" if alike else "length")
    panels["S"].set_ylabel("return")
    for axes in panels.values():
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png")


def _draw_histogram(axes: Axes, counts: Sequence[int], edges: Sequence[float]) -> None:
    axes.stairs(counts, edges, fill=True, color=MUTED)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.ticklabel_format(axis="x", useOffset=False)


def _draw_targets(axes: Axes, steering: Steerability) -> None:
    """A line at each target with the number of episodes near it, and the widest gap shaded."""
    top = axes.get_ylim()[1]
    apart = steering["targets"][1]["target"] - steering["targets"][0]["target"]
    legible = apart > 0.04 * np.ptp(axes.get_xlim())  # else the numbers would overlap
    axes.set_ylim(0, 1.12 * top)
    for row in steering["targets"]:
        axes.plot([row["target"]] * 2, [0, top], color=ACCENT, linewidth=1, linestyle="--")
        if legible:
            count = str(row["episodes_near"])
            axes.text(row["target"], top, count, color=ACCENT, ha="center", va="bottom")
    if steering["verdict"] == "gaps":
        gap = steering["largest_gap"]
        axes.axvspan(gap["from"], gap["to"], color=ACCENT, alpha=0.08, linewidth=0)
    words = "dashed: the default targets"
    words += ", and how many episodes lie near each" if legible else ""
    axes.set_title(words, color=ACCENT, fontsize=9, loc="right")


def _data_title(card: DataCard) -> str:
    name = Path(card["name"]).name
    env = f", {card['env_id']}" if card["env_id"] else ""
    first = f"{name}{env}, {card['episodes']:,} episodes, {card['steps']:,} steps"
    verdict = card["steerability"]["line"].replace(" %", "\u00a0%")
    return "\n".join([first, *wrap(verdict, 120)])
