"""Comparisons of two cards as a table: what changes from A to B."""

from __future__ import annotations

from rich.console import Console

from dt.evaluation.card import AggregateCard, AnyCard
from dt.evaluation.comparison import Change, Comparison
from dt.evaluation.parts import Estimate
from dt.evaluation.scores import interval_text
from dt.report.sheet import Sheet, target_format


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the differences at each target and over all, and which is nearer to its targets."""
    comparison_sheet(comparison).print(console)


def comparison_sheet(comparison: Comparison) -> Sheet:
    """Lay out a comparison."""
    columns = ["target", "A", "B", "B - A", "95 % interval", "P(B > A)", "95 % interval"]
    form = target_format([row.target for row in comparison.targets])
    rows = []
    for row in comparison.targets:
        label = f"{row.target:{form}}{'*' if row.ood else ''}"
        means = [f"{mean:{form}}" for mean in (row.a_mean, row.b_mean)]
        rows.append([label, *means, *_changes(row.change, form)])
    rows.append(["all", "", "", *_changes(comparison.overall, form)])
    pairing = f"{comparison.unit}, not paired: Welch's interval"
    if comparison.paired:
        pairing = "episodes, paired: both played the same seeds"
    sides = zip("AB", (comparison.a, comparison.b), comparison.names, strict=True)
    notes = [*(f"{side}: {_name(card, name)}" for side, card, name in sides), pairing]
    if any(row.ood for row in comparison.targets):
        notes.append("* beyond the data's returns, and not part of all")
    slope = comparison.slope
    if slope:
        notes.append(
            f"slope {slope.a:.3f} and {slope.b:.3f}: B - A {slope.difference.value:+.3f} "
            f"({interval_text(slope.difference.ci95, '.3f')})"
        )
    return Sheet(
        title=f"{comparison.a.env_id}: A against B",
        columns=[*columns, "P(B closer)", "95 % interval"],
        rows=rows,
        notes=notes,
        verdict=_better(comparison),
    )


def _changes(change: Change, form: str) -> list[str]:
    """B - A, P(B > A) and P(B closer), an interval after each."""
    cells = [f"{change.difference.value:+{form}}", interval_text(change.difference.ci95, form)]
    for chance in (change.higher, change.closer):
        cells += [f"{chance.value:.2f}", interval_text(chance.ci95, ".2f")]
    return cells


def _better(comparison: Comparison) -> str:
    closer: Estimate = comparison.overall.closer
    if closer.ci95 is None:
        return f"one of the {comparison.unit}: too few to say"
    if closer.ci95[0] <= 0.5 <= closer.ci95[1]:
        return "no difference that shows in how near they come to their targets"
    p = closer.value
    nearer = "B" if p > 0.5 else "A"
    return f"{nearer} comes nearer to its targets in {100 * max(p, 1 - p):.0f} % of pairs of draws"


def _name(card: AnyCard, name: str) -> str:
    if isinstance(card, AggregateCard):
        what = f"{len(card.runs)} runs"
    else:
        what = f"update {card.checkpoint_step}"
    baseline = ", baseline null" if card.acting.null else ""
    return f"{name}, {what} ({card.selection}){baseline}"
