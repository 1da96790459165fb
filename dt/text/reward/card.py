"""A reward model's card: how often the text that people preferred scores higher, and where not."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from dt.config.text import TextConfig
from dt.evaluation.intervals import rank_correlation
from dt.evaluation.provenance import code_commit, code_versions
from dt.files import write_json, written_whole
from dt.report.sheet import Sheet
from dt.text.data.posts import Pairs
from dt.text.measures import UNKNOWN, Measured, resampled, slope
from dt.text.reward.contests import Accuracy, accuracies, pairs_of_posts
from dt.text.reward.run import Material, load_material
from dt.text.reward.scorer import load_scorer
from dt.text.reward.spec import LearnsFrom


@dataclass(frozen=True)
class RewardCard:
    """All that an evaluation of a reward model says."""

    name: str
    """Of the run and its checkpoint."""
    data: str
    learns_from: LearnsFrom
    trained_on: int
    """Pairs or posts."""
    accuracies: tuple[Accuracy, ...]
    """Of held-out pairs: all, some kinds, and last those of like length and time."""
    longer_wins: Measured
    """How often the longer text won, which no model is needed for."""
    rank_correlation: float | None
    """Spearman's, of predicted and true scores of held-out posts; None of pairs."""
    slope: Measured
    """Of predicted over true scores; 1 is a model that hedges nothing."""
    command: str
    commit: str | None
    versions: dict[str, str]

    @property
    def verdict(self) -> str:
        """Say in a line whether people's preference is predicted, and where it is hard."""
        every, hard = self.accuracies[0].accuracy, self.accuracies[-1].accuracy
        return f"{_sure(every)} on held-out pairs; {_sure(hard)} where length and time do not tell"

    def to_json(self) -> dict[str, Any]:
        """Write the card as plain JSON values."""
        return {"kind": "text-reward", "verdict": self.verdict, **dataclasses.asdict(self)}


def card_of_reward_run(
    run_dir: Path,
    config: TextConfig,
    *,
    material: Material | None = None,
    checkpoint: str | int = "last",
    command: str = "",
) -> RewardCard:
    """Make the card of a reward model's run on its held-out pairs or posts.

    Raises:
        ValueError: for a run or a file that cannot be used, in one line.
    """
    scorer = load_scorer(run_dir, checkpoint)
    material = material or load_material(config)
    test = material.test
    correlation, steepness = None, UNKNOWN
    pairs: Pairs | None
    if isinstance(test, Pairs):
        pairs = test
    else:
        pairs = pairs_of_posts(test)
        predicted = scorer(test.texts, test.prompts)
        correlation = rank_correlation(test.scores, predicted)
        steepness = resampled(slope, (test.scores, predicted))
    if pairs is None:
        raise ValueError(
            f"{test.name}: no two held-out posts of one group differ in score; name another "
            f"--text.group, or none"
        )
    margin = scorer(pairs.chosen, pairs.prompts) - scorer(pairs.rejected, pairs.prompts)
    longer = np.array([len(a) - len(b) for a, b in zip(pairs.chosen, pairs.rejected, strict=True)])
    return RewardCard(
        name=scorer.name,
        data=test.name,
        learns_from=material.learns_from,
        trained_on=len(material.train),
        accuracies=accuracies(pairs, margin),
        longer_wins=accuracies(pairs, longer.astype(float))[0].accuracy,
        rank_correlation=correlation,
        slope=steepness,
        command=command,
        commit=code_commit(),
        versions=code_versions(),
    )


def reward_sheet(card: RewardCard) -> Sheet:
    """Lay the card out as a table and lines."""
    rows = []
    for row in card.accuracies:
        low, high = row.accuracy.interval or (float("nan"), float("nan"))
        value = row.accuracy.value
        share = "none" if value is None else f"{100 * value:.1f} %"
        ends = "" if value is None else f"{100 * low:.1f} to {100 * high:.1f}"
        rows.append([row.name, share, ends, str(row.pairs)])
    notes = [f"to prefer the longer text is right in {_percent(card.longer_wins)}"]
    if card.rank_correlation is not None:
        notes.append(
            f"on held-out posts: Spearman {card.rank_correlation:.3f} with the true score, slope "
            f"{card.slope}"
        )
    what = "pairs" if card.learns_from == "pairs" else "posts with scores"
    return Sheet(
        title=f"{card.name}, learned from {card.trained_on} {what}",
        columns=["held-out pairs", "right", "95 % interval", "pairs"],
        rows=rows,
        notes=notes,
        verdict=card.verdict,
    )


def print_reward_card(card: RewardCard, console: Console) -> None:
    """Print the card to a terminal."""
    reward_sheet(card).print(console)


def write_reward_card(card: RewardCard, folder: Path, name: str) -> list[Path]:
    """Write a card as NAME.json and NAME.md.

    Returns:
        The files.

    Raises:
        OSError: where nothing can be written, with what to do.
    """
    files = [folder / f"{name}.json", folder / f"{name}.md"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(files[0], card.to_json())
        with written_whole(files[1]) as beside:
            beside.write_text(reward_sheet(card).markdown())
    except OSError as error:
        raise OSError(
            f"{folder}: the card cannot be written there ({error.strerror or error}); name another "
            f"folder with --out"
        ) from error
    return files


def _percent(share: Measured) -> str:
    if share.value is None or share.interval is None:
        return "no pair"
    low, high = share.interval
    return f"{100 * share.value:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def _sure(share: Measured) -> str:
    if share.value is None or share.interval is None:
        return "not known, for there are no such pairs"
    if share.interval[0] > 0.5:
        return f"better than chance ({_percent(share)})"
    return f"no better than chance, as far as these pairs tell ({_percent(share)})"
