"""How is a score card shown and kept? As a table, as JSON, as Markdown and as a picture."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dt.acting.options import file_words, title_words
from dt.acting.request_map import RequestMap
from dt.data.card.steerability import number_format
from dt.files import write_json
from dt.report.plots import plot_calibration


@dataclass(frozen=True)
class Sheet:
    """A table with a title over it, and under it the lines that say how to read it."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]
    verdict: str  # one line, the last

    def print(self, console: Console) -> None:
        table = Table()
        for column in self.columns:
            table.add_column(column, justify="right")
        for row in self.rows:
            table.add_row(*map(escape, row))
        console.print(self.title, markup=False, style="italic", soft_wrap=True)
        console.print(table)
        for note in self.notes:
            console.print(note, markup=False, soft_wrap=True)
        if self.verdict:
            console.print(f"[bold]{escape(self.verdict)}[/bold]", soft_wrap=True)

    def markdown(self) -> str:
        """For an appendix or an issue."""

        def line(cells: list[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

        head = [line(self.columns), line(["---:"] * len(self.columns))]
        under = [*self.notes, *([f"**{self.verdict}**"] if self.verdict else [])]
        parts = [f"**{self.title}**", "\n".join([*head, *map(line, self.rows)]), *under]
        return "\n\n".join(parts) + "\n"


def print_card(card: dict[str, Any], console: Console) -> None:
    """The table target / achieved / interval / normalised score, and the calibration under it."""
    card_sheet(card).print(console)


def print_comparison(comparison: dict[str, Any], console: Console) -> None:
    comparison_sheet(comparison).print(console)


def print_request_map(request_map: RequestMap, console: Console) -> None:
    measured = request_map.measured
    means = zip(request_map.requests, measured["means"], request_map.achieved, strict=True)
    Sheet(
        title=f"{request_map.env_id}, update {request_map.checkpoint_step}, request map from "
        f"{measured['episodes']} episodes a request",
        columns=["request", "mean", "achieved"],
        rows=[[f"{number:.1f}" for number in row] for row in means],
        notes=["achieved: the means, made to rise; what --calibrated goes by"],
        verdict="",
    ).print(console)


def card_name(card: dict[str, Any], env_id: str | None) -> str:
    """What stands before a card's files: nothing for the headline, which is the last checkpoint's
    in the environment of its data, `env_id`, as it was trained to act."""
    parts = ["aggregate"] if "runs" in card else []
    if card["env_id"] != env_id:
        parts.append(re.sub(r"[^\w.-]", "-", card["env_id"]))
    parts += file_words(card)
    parts += ["on-device"] if card["on_device"] else []
    if card["selection"] != "last":
        step = card.get("checkpoint_step")
        parts.append(card["selection"] if step is None else f"update-{step}")
    return "-".join(parts)


def write_card(card: dict[str, Any], directory: Path, name: str = "") -> list[Path]:
    """card.json, card.md and calibration.png; with a name, NAME-card.json and so on."""
    prefix = f"{name}-" if name else ""
    files = [directory / f"{prefix}{each}" for each in ("card.json", "card.md", "calibration.png")]
    write_json(files[0], card)
    sheet = card_sheet(card)
    origin = f"`{card['command']}`, commit {card['commit']}, seed {card_seeds(card)}, " + ", ".join(
        f"{package} {version}" for package, version in card["versions"].items()
    )
    files[1].write_text(f"{sheet.markdown()}\n{origin}\n")
    plot_calibration(card, files[2])
    return files


def write_comparison(comparison: dict[str, Any], directory: Path) -> list[Path]:
    files = [directory / "comparison.json", directory / "comparison.md"]
    write_json(files[0], comparison)
    files[1].write_text(comparison_sheet(comparison).markdown())
    return files


def card_sheet(card: dict[str, Any]) -> Sheet:
    """A card of one run, or of several."""
    runs, reference = card.get("runs"), card["reference"]
    requested = "request" in card["targets"][0]
    columns = ["target", *(["request"] if requested else []), "IQM" if runs else "achieved"]
    columns += ["95 % interval", "std of runs" if runs else "std", "length"]
    form = _form(card)
    rows = []
    for row in card["targets"]:
        marks = ("*" if row["ood"] else "") + ("" if row.get("reachable", True) else "!")
        cells = [f"{row['target']:{form}}{marks}"]
        cells += [f"{row['request']:{form}}"] if requested else []
        cells.append(f"{row.get('return_iqm', row['return_mean']):{form}}")
        cells += [_span(row["return_ci95"], form), f"{row['return_std']:{form}}"]
        cells.append(f"{row['length_mean']:.0f}")
        rows.append(cells + ([f"{row['normalized_score']:.1f}"] if reference else []))
    return Sheet(
        title=card_title(card),
        columns=columns + (["normalised"] if reference else []),
        rows=rows,
        notes=_notes(card),
        verdict=card["verdict"],
    )


def card_title(card: dict[str, Any]) -> str:
    parts = [card["env_id"]]
    if "runs" in card:
        parts.append(f"{len(card['runs'])} runs ({card['selection']})")
    else:
        parts.append(f"update {card['checkpoint_step']} ({card['selection']})")
    parts.append(f"{card['episodes']} episodes a target")
    parts += title_words(card)
    parts += ["on the device"] if card["on_device"] else []
    return ", ".join(parts)


def card_seeds(card: dict[str, Any]) -> str:
    return ", ".join(str(run["seed"]) for run in card.get("runs", [card]))


def comparison_sheet(comparison: dict[str, Any]) -> Sheet:
    names = [_name(comparison[side]) for side in ("a", "b")]
    columns = ["target", "A", "B", "B - A", "95 % interval", "P(B > A)", "95 % interval"]
    form = _form(comparison)
    rows = []
    for row in comparison["targets"]:
        label = f"{row['target']:{form}}{'*' if row['ood'] else ''}"
        means = [f"{row[side]:{form}}" for side in ("a_mean", "b_mean")]
        rows.append([label, *means, *_changes(row, form)])
    rows.append(["all", "", "", *_changes(comparison["overall"], form)])
    pairing = f"{comparison['unit']}, not paired: Welch's interval"
    if comparison["paired"]:
        pairing = "episodes, paired: both played the same seeds"
    notes = [f"A: {names[0]}", f"B: {names[1]}", pairing]
    if any(row["ood"] for row in comparison["targets"]):
        notes.append("* beyond the data's returns, and not part of all")
    if comparison["slope"]:
        slope = comparison["slope"]
        notes.append(
            f"slope {slope['a']:.3f} and {slope['b']:.3f}: B - A {slope['difference']:+.3f} "
            f"({_span(slope['difference_ci95'], '.3f')})"
        )
    return Sheet(
        title=f"{comparison['env_id']}: A against B",
        columns=[*columns, "P(B closer)", "95 % interval"],
        rows=rows,
        notes=notes,
        verdict=_better(comparison),
    )


def _notes(card: dict[str, Any]) -> list[str]:
    notes = []
    if card["reference"]:
        source, low, high = (card["reference"][name] for name in ("source", "low", "high"))
        notes.append(f"normalised: 0 is {low:.6g} and 100 is {high:.6g}, {source}")
    calibration, runs = card["calibration"], card.get("runs")
    if calibration is not None:
        error = f"{100 * calibration['mae_over_range']:.1f} % of the range"
        if runs:
            error += f" ({_span([100 * end for end in calibration['mae_over_range_ci95']], '.1f')})"
        notes.append(
            f"slope {calibration['slope']:.3f} ({_span(calibration['slope_ci95'], '.3f')}), error "
            f"{error}, monotone {calibration['monotone']}"
        )
    if runs:
        notes.append("interquartile mean over runs; intervals say what other runs would bring")
        steps = [f"{run['name']} (update {run['checkpoint_step']})" for run in runs]
        notes.append("runs: " + ", ".join(steps))
    if any(row["ood"] for row in card["targets"]):
        shown = "shown as its nearest" if card["clipped"] else "shown to the model as they are"
        notes.append(f"* beyond the data's returns, {shown}; not part of slope and error")
    if card["calibrated"] and not all(row.get("reachable", True) for row in card["targets"]):
        notes.append("! out of reach: the request is the one that came nearest")
    if card["beyond"]:
        notes.append(card["beyond"]["verdict"])
    seconds, speed = card["wall_seconds"], card["env_steps_per_second"]
    notes.append(f"{seconds:.1f} s, {speed:.0f} environment steps/s")
    return notes


def _changes(row: dict[str, Any], form: str) -> list[str]:
    """B - A, P(B > A) and P(B closer), an interval after each."""
    return [
        f"{row['difference']:+{form}}",
        _span(row["difference_ci95"], form),
        f"{row['probability_higher']:.2f}",
        _span(row["probability_higher_ci95"], ".2f"),
        f"{row['probability_closer']:.2f}",
        _span(row["probability_closer_ci95"], ".2f"),
    ]


def _better(comparison: dict[str, Any]) -> str:
    overall = comparison["overall"]
    interval = overall["probability_closer_ci95"]
    if interval is None:
        return f"one of the {comparison['unit']}: too few to say"
    if interval[0] <= 0.5 <= interval[1]:
        return "no difference that shows in how near they come to their targets"
    p = overall["probability_closer"]
    nearer = "B" if p > 0.5 else "A"
    return f"{nearer} comes nearer to its targets in {100 * max(p, 1 - p):.0f} % of pairs of draws"


def _name(origin: dict[str, Any]) -> str:
    runs = origin.get("runs")
    what = f"{len(runs)} runs" if runs else f"update {origin['checkpoint_step']}"
    baseline = f", baseline {origin['baseline']}" if origin["baseline"] else ""
    return f"{origin['name']}, {what} ({origin['selection']}){baseline}"


def _span(interval: list[float] | None, form: str) -> str:
    if interval is None:
        return "no interval"
    return f"{interval[0]:{form}} to {interval[1]:{form}}"


def _form(card: dict[str, Any]) -> str:
    targets = [row["target"] for row in card["targets"]]
    return number_format(targets).replace(".0f", ".1f")
