"""The score card of a text model: what was asked for, what the judge found, and what to compare."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from dt.report.sheet import Sheet
from dt.text.data.confounds import Confounds
from dt.text.measures import Measured


@dataclass(frozen=True)
class TargetRow:
    """One score that was asked for."""

    target: float
    """Transformed; `raw` is the same as the file has it."""
    raw: float
    judged: Measured
    """Mean of the judge's scores, and its interval; not known without a judge."""
    std: float | None
    """Of the judge's scores of single texts."""
    characters: float
    """Mean length."""
    texts: tuple[str, ...]
    """Some of them, the first that were drawn."""


@dataclass(frozen=True)
class Reading:
    """How well the model reads held-out texts."""

    bits_a_character: float
    bits_unasked: float
    """The same without the score."""
    perplexity: float
    """A token."""
    perplexity_unasked: float


@dataclass(frozen=True)
class TextCard:
    """All that an evaluation of a text model says."""

    name: str
    """Of the run and its checkpoint."""
    data: str
    transform: str
    judge: str
    """Empty: nobody judged."""
    guidance: float
    temperature: float
    samples: int
    """Texts for each target."""
    targets: tuple[TargetRow, ...]
    monotone: int
    """Steps to the next target at which more came, of one less than there are targets."""
    ratio: Measured
    """Slope of the judge on what was written over its slope on real held-out texts, at these
    texts' own scores; 1 is perfect."""
    slope_written: Measured
    slope_real: Measured
    correlation: Measured
    """Of the score asked for with the judge's, over all texts of the targets."""
    correlation_matched: Measured
    """The same over texts written at held-out texts' own scores."""
    ceiling: Measured
    """Correlation of true scores with the judge's, on real held-out texts: no text can be seen to
    follow a score better than this judge sees it."""
    reading: Reading
    distinct_1: float | None
    distinct_2: float | None
    distinct_2_real: float | None
    """Of as many real held-out texts."""
    copied_8: float | None
    """Share of runs of eight words that stand in the training texts."""
    copied_8_real: float | None
    """Of real held-out texts."""
    kl: float | None
    """Nats a token from the exact conditional distribution to the model's; None where no exact
    distribution is known."""
    confounds: Confounds
    notes: tuple[str, ...]
    command: str
    commit: str | None
    versions: dict[str, str]

    @property
    def verdict(self) -> str:
        """Say in a line whether the score is followed."""
        if not self.judge:
            return "nobody judged what was written"
        if self.ratio.value is None:
            return "undecided: the judge sees no slope in real texts, and cannot judge these"
        if self.slope_written.holds_zero:
            return "ignores the score, as far as this judge sees"
        if not self.slope_written.above_zero:
            return "follows the score the wrong way round"
        off = abs(self.ratio.value - 1)
        if off <= 0.25:
            return f"follows the score, {self.ratio.value:.2f} times as steep as real texts"
        steeper = "more" if self.ratio.value > 1 else "less"
        return (
            f"follows the score, but {steeper} than real texts do ({self.ratio.value:.2f} times as "
            f"steep)"
        )

    def to_json(self) -> dict[str, Any]:
        """Write the card as plain JSON values."""
        values = dataclasses.asdict(self)
        values["confounds"] = self.confounds.to_json()
        return {"kind": "text", "verdict": self.verdict, **values}


def card_sheet(card: TextCard) -> Sheet:
    """Lay the card out as a table and lines."""
    judged = bool(card.judge)
    columns = ["asked", *(["judged", "95 % interval", "std"] if judged else []), "characters"]
    if card.transform != "raw":
        columns.insert(1, "in the file's unit")
    rows = []
    for row in card.targets:
        cells = [f"{row.target:.3g}"]
        if card.transform != "raw":
            cells.append(f"{row.raw:.4g}")
        if judged:
            ends = row.judged.interval or (float("nan"), float("nan"))
            cells += [f"{row.judged.value:.3g}", f"{ends[0]:.3g} to {ends[1]:.3g}"]
            cells.append(f"{row.std:.2g}")
        rows.append([*cells, f"{row.characters:.0f}"])
    return Sheet(
        title=f"{card.name}, {card.samples} texts a target, guidance {card.guidance:g}",
        columns=columns,
        rows=rows,
        notes=[*card_lines(card)],
        verdict=card.verdict,
    )


def card_lines(card: TextCard) -> list[str]:
    """Say the rest of the card in lines."""
    lines = []
    if card.judge:
        steps = len(card.targets) - 1
        lines += [
            f"judge: {card.judge}; on real texts its correlation with the score is {card.ceiling}",
            f"ratio of slopes, written over real: {card.ratio}; slopes {card.slope_written} and "
            f"{card.slope_real}; monotone {card.monotone}/{steps}",
            f"correlation of single texts {card.correlation}; at real texts' own scores "
            f"{card.correlation_matched}",
        ]
    reading = card.reading
    lines.append(
        f"reads held-out texts at {reading.bits_a_character:.3f} bits a character (perplexity "
        f"{reading.perplexity:.4g}), without the score {reading.bits_unasked:.3f} "
        f"({reading.perplexity_unasked:.4g})"
    )
    if card.distinct_1 is not None:
        real = "" if card.distinct_2_real is None else f", real texts {card.distinct_2_real:.3f}"
        lines.append(
            f"distinct words {card.distinct_1:.3f}, pairs of words {card.distinct_2 or 0:.3f}{real}"
        )
    if card.copied_8 is not None:
        real = "none" if card.copied_8_real is None else f"{100 * card.copied_8_real:.2f} %"
        lines.append(
            f"runs of 8 words that stand in training: {100 * card.copied_8:.2f} % (real held-out "
            f"texts: {real})"
        )
    if card.kl is not None:
        lines.append(f"KL from the exact distribution: {card.kl:.4f} nats a token")
    lines += card.confounds.lines()
    return [*lines, *(f"note: {note}" for note in card.notes), WARNING]


WARNING = "votes are not truth: a text that scores high is one that people liked"
