"""Cards of data sets in a terminal: what is in the data, and whether its returns can steer."""

from __future__ import annotations

import math

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dt.data.card.card import ActionFacts, DataCard, Histogram, Spread
from dt.data.card.columns import Range
from dt.data.card.pass_counts import EndingFacts
from dt.data.card.steerability import number_format
from dt.files import shown

BAR_ROWS = 5


def print_data_card(card: DataCard, console: Console, opened: str = "") -> None:
    """Print sizes, spaces and endings; the percentiles; the returns as bars; what was found.

    Args:
        opened: what the files are and hold, as `dt.data.card.safety` says it.
    """
    env = f", {card['env_id']}" if card["env_id"] else ""
    console.print(Text(f"{card['name']}{env}", style="bold"))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    for label, text in [*([("file", opened)] if opened else []), *fact_lines(card)]:
        facts.add_row(label, Text(text))
    console.print(facts)

    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("")
    columns = [*card["lengths"]["percentiles"], "mean", "std", "best tenth"]
    for column in columns:
        table.add_column(column, justify="right")
    spreads: dict[str, Spread | None] = {"returns": card["returns"], "lengths": card["lengths"]}
    for field, spread in spreads.items():
        if spread is not None:
            values = [*spread["percentiles"].values(), spread["mean"], spread["std"]]
            best = spread["best_tenth_mean"]
            unit, form = (1.0, ".0f") if field == "lengths" else _unit(values[:7])
            label = field if unit == 1.0 else f"{field} / {unit:.0e}"
            cells = (f"{value / unit:{form}}" for value in [*values, best])
            table.add_row(Text(label, style="dim"), *cells)
    console.print()
    console.print(table)
    if card["returns"] is not None:
        targets = [row["target"] for row in card["steerability"]["targets"]]
        console.print()
        wide = 2 if console.width >= 80 else 1
        for line in bars(card["returns"]["histogram"], targets, wide, console.encoding):
            console.print(Text(line, style="cyan"), no_wrap=True, crop=True)
    console.print()
    for problem in card["problems"]:
        console.print(Text(f"problem: {shown(problem)}", style="red"))
    for note in card["notes"]:
        console.print(Text(f"note: {shown(note)}", style="yellow"))
    console.print(Text(card["steerability"]["line"], style="bold"))


def fact_lines(card: DataCard) -> list[tuple[str, str]]:
    """Say what there is, a label and a line each."""
    observations, rewards = card["observations"], card["rewards"]
    lines = [
        ("size", f"{card['episodes']:,} episodes, {card['steps']:,} steps"),
        ("observations", f"{card['observation_space']}, {_range(observations)}"),
        ("actions", f"{card['action_space']}, {_actions(card['actions'])}"),
        ("rewards", f"{_range(rewards)}, {_percent(rewards['zero_share'])} are 0"),
        ("endings", _endings(card["endings"])),
    ]
    reference = card["reference"]
    if reference is not None:
        line = f"{reference['low']:g} to {reference['high']:g} ({reference['source']})"
        if reference["mean_score"] is not None:
            line += f", the mean return scores {reference['mean_score']:.1f}"
        lines.append(("reference", line))
    return lines


def bars(histogram: Histogram, targets: list[float], wide: int, encoding: str) -> list[str]:
    """Draw counts as columns `wide` characters wide, a mark under each target, and both ends."""
    counts, edges = np.array(histogram["counts"]), histogram["edges"]
    eighths = np.ceil(counts / counts.max() * BAR_ROWS * 8).astype(int)  # one episode shows
    blocks = " ▁▂▃▄▅▆▇█" if encoding.lower().startswith("utf") else " ...:::##"
    lines = []
    for row in reversed(range(BAR_ROWS)):
        fill = np.clip(eighths - 8 * row, 0, 8)
        lines.append("".join(wide * blocks[f] for f in fill).rstrip())
    marks = [" "] * (wide * len(counts))
    for target in targets:
        place = (target - edges[0]) / (edges[-1] - edges[0]) * len(marks)
        marks[min(int(place), len(marks) - 1)] = "^"
    low, high = (f"{edge:{number_format([edges[0], edges[-1]])}}" for edge in (edges[0], edges[-1]))
    between = "returns; ^ default targets".center(len(marks) - len(low) - len(high))
    return [*lines, "".join(marks).rstrip(), low + between + high]


def _unit(values: list[float]) -> tuple[float, str]:
    """A power of ten to count numbers in and how to print them, for ten of them stand in a row."""
    size, span = float(np.abs(values).max()), float(np.ptp(values))
    if size == 0.0 or (size < 1e5 and (span == 0.0 or span >= 0.1)):
        return 1.0, number_format(values)
    return 10.0 ** math.floor(math.log10(size)), ".3f"


def _percent(share: float) -> str:
    """Never 0 for a little, nor 100 for almost all."""
    if share in (0.0, 1.0):
        return f"{100 * share:.0f} %"
    return f"{min(max(100 * share, 0.1), 99.9):.1f} %"


def _range(facts: Range) -> str:
    if facts["low"] is None:
        return "without a finite value"
    if facts["low"] == facts["high"]:
        return f"always {facts['low']:.4g}"
    return f"{facts['low']:.4g} to {facts['high']:.4g}"


def _actions(actions: ActionFacts) -> str:
    if actions["kind"] == "discrete":
        shares = actions["shares"]
        if len(shares) <= 6:
            return "taken " + ", ".join(_percent(share) for share in shares)
        most = int(np.argmax(shares))
        used = len(shares) - len(actions["never_used"])
        return f"{used} used, most often {most} ({_percent(shares[most])})"
    saturation, share = actions["saturation"], actions["saturation_share"]
    if saturation is None or share is None:
        return _range(actions)
    line = f"{_percent(share)} at a bound"
    if len(saturation) > 1:
        most = int(np.argmax(saturation))
        line += f" (most: {_percent(saturation[most])} of dimension {most})"
    return line


def _endings(endings: EndingFacts) -> str:
    shares = {
        "terminated": endings["terminated"],
        "truncated": endings["truncated"],
        "both at once": endings["both"],
        "without a mark": endings["neither"],
    }
    parts = [f"{_percent(share)} {word}" for word, share in shares.items() if share]
    if endings["at_limit"] is not None:
        source = "" if endings["limit_from"] == "environment" else ", the longest here"
        parts.append(f"{_percent(endings['at_limit'])} last {endings['limit']} steps{source}")
    return ", ".join(parts)
