"""Comparisons of two cards as tables: what changes from A to B, and how likely."""

from __future__ import annotations

from rich.console import Console

from dt.evaluation.card import AggregateCard, AnyCard
from dt.evaluation.comparison import Change, Comparison
from dt.evaluation.parts import Estimate
from dt.evaluation.scores import interval_text
from dt.report.sheet import Sheet, target_format


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the differences at each target and over all, and which is nearer to its targets."""
    for sheet in comparison_sheets(comparison):
        sheet.print(console)


def comparison_markdown(comparison: Comparison) -> str:
    """Write a comparison for an appendix or an issue."""
    return "\n".join(sheet.markdown() for sheet in comparison_sheets(comparison))


def comparison_sheets(comparison: Comparison) -> tuple[Sheet, Sheet]:
    """Lay out a comparison: what changes, and how likely. Side by side they are too wide to read.

    Each of the two fits in 80 columns.
    """
    form = target_format([row.target for row in comparison.targets])
    overall = comparison.overall
    changes, chances = [], []
    for row in comparison.targets:
        label = f"{row.target:{form}}{'*' if row.ood else ''}"
        means = [f"{mean:{form}}" for mean in (row.a_mean, row.b_mean)]
        changes.append([label, *means, *_difference(row.change, form)])
        chances.append([label, *_chances(row.change)])
    interval = "95 % interval"
    what = Sheet(
        title=f"{comparison.a.env_id}: A against B",
        columns=["target", "A", "B", "B - A", interval],
        rows=[*changes, ["all", "", "", *_difference(overall, form)]],
        notes=[],
        verdict="",
    )
    how_likely = Sheet(
        title="how likely B brings more, and comes closer to its target",
        columns=["target", "P(B > A)", interval, "P(B closer)", interval],
        rows=[*chances, ["all", *_chances(overall)]],
        notes=_notes(comparison),
        verdict=_better(comparison),
    )
    return what, how_likely


def _notes(comparison: Comparison) -> list[str]:
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
    return notes


def _difference(change: Change, form: str) -> list[str]:
    """B - A, and its interval."""
    return [f"{change.difference.value:+{form}}", interval_text(change.difference.ci95, form)]


def _chances(change: Change) -> list[str]:
    """P(B > A) and P(B closer), an interval after each."""
    cells = []
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
