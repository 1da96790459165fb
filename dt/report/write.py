"""Files of cards and comparisons: JSON, Markdown and a picture."""

from __future__ import annotations

import re
from pathlib import Path

from dt.acting.options import file_words
from dt.evaluation.card import AggregateCard, AnyCard, Card
from dt.evaluation.comparison import Comparison
from dt.files import write_json
from dt.report.card_table import card_seeds, card_sheet
from dt.report.comparison_table import comparison_sheet
from dt.report.plots import plot_calibration


def card_name(card: AnyCard, env_id: str | None) -> str:
    """What stands before a card's files: nothing for the headline, which is the last checkpoint's
    in the environment of its data, `env_id`, as it was trained to act."""
    parts = ["aggregate"] if isinstance(card, AggregateCard) else []
    if card.env_id != env_id:
        parts.append(re.sub(r"[^\w.-]", "-", card.env_id))
    parts += file_words(card.acting_entries())
    parts += ["on-device"] if card.on_device else []
    if card.selection != "last":
        update = isinstance(card, Card) and f"update-{card.checkpoint_step}"
        parts.append(update or card.selection)
    return "-".join(parts)


def write_card(card: AnyCard, directory: Path, name: str = "") -> list[Path]:
    """Write card.json, card.md and calibration.png; with a name, NAME-card.json and so on.

    Returns:
        The files.
    """
    prefix = f"{name}-" if name else ""
    files = [directory / f"{prefix}{each}" for each in ("card.json", "card.md", "calibration.png")]
    write_json(files[0], card.to_json())
    sheet = card_sheet(card)
    origin = f"`{card.command}`, commit {card.commit}, seed {card_seeds(card)}, " + ", ".join(
        f"{package} {version}" for package, version in card.versions.items()
    )
    files[1].write_text(f"{sheet.markdown()}\n{origin}\n")
    plot_calibration(card, files[2])
    return files


def write_comparison(comparison: Comparison, directory: Path) -> list[Path]:
    """Write comparison.json and comparison.md.

    Returns:
        The files.
    """
    files = [directory / "comparison.json", directory / "comparison.md"]
    write_json(files[0], comparison.to_json())
    files[1].write_text(comparison_sheet(comparison).markdown())
    return files
