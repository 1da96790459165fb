"""Sheets: a table with its title and notes, for a terminal or as Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dt.data.card.steerability import number_format


@dataclass(frozen=True)
class Sheet:
    """A table with a title over it, and under it the lines that say how to read it."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]
    verdict: str  # one line, the last

    def print(self, console: Console) -> None:
        """Draw the table, in as many columns as it needs."""
        table = Table()
        for column in self.columns:
            table.add_column(column, justify="right", overflow="fold")
        for row in self.rows:
            table.add_row(*map(escape, row))
        console.print(self.title, markup=False, style="italic", soft_wrap=True)
        console.print(table)
        for note in self.notes:
            console.print(note, markup=False, soft_wrap=True)
        if self.verdict:
            console.print(f"[bold]{escape(self.verdict)}[/bold]", soft_wrap=True)

    def markdown(self) -> str:
        """Write it for an appendix or an issue."""

        def line(cells: list[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

        head = [line(self.columns), line(["---:"] * len(self.columns))]
        under = [*self.notes, *([f"**{self.verdict}**"] if self.verdict else [])]
        parts = [f"**{self.title}**", "\n".join([*head, *map(line, self.rows)]), *under]
        return "\n\n".join(parts) + "\n"


def target_format(targets: list[float]) -> str:
    """How to print returns that stand beside these targets, such as ".1f"."""
    return number_format(targets).replace(".0f", ".1f")
