"""Files of cards and comparisons: JSON, Markdown and a picture."""

from __future__ import annotations

import os
from pathlib import Path

from dt.evaluation.card import AnyCard, Card
from dt.evaluation.comparison import LATEST, Comparison
from dt.evaluation.question import Question, name_of_runs
from dt.evaluation.score_run import CARDS, log_card
from dt.files import write_json, written_whole
from dt.report.card_table import card_seeds, card_sheet
from dt.report.comparison_table import comparison_markdown
from dt.report.plots import plot_calibration
from dt.training.run import Run

LATEST_OF_SEVERAL = "latest-aggregate-card.json"  # link to the newest card of several runs


def publish_card(run: Run, card: Card) -> list[Path]:
    """Write the card of a run that was just trained, and send it where training is logged.

    Returns:
        The files.

    Raises:
        ValueError: as `log_card`.
    """
    files = write_card(card, run.directory)
    log_card(run, card, files[-1])
    return files


def write_card(card: AnyCard, directory: Path) -> list[Path]:
    """Write the card that training made: card.json, card.md and calibration.png of a run.

    Returns:
        The files.
    """
    names = ("card.json", "card.md", "calibration.png")
    return _write(card, [directory / name for name in names])


def write_answer(
    card: Card, run_dir: Path, question: Question, out: Path | None = None
) -> list[Path]:
    """Write what a run answered to a question: into its cards/, linked as its newest.

    Args:
        out: a folder for it in their place, where the run's name stands in front.

    Returns:
        The files.
    """
    if out is None:
        return write_evaluation(card, run_dir, question.name)
    return write_evaluation(card, out, f"{name_of_runs([run_dir])}-{question.name}", folder="")


def write_joint_answer(
    card: AnyCard, run_dirs: list[Path], question: Question, out: Path | None = None
) -> list[Path]:
    """Write what several runs came to together: into the first one's cards/, or into `out`."""
    name = f"aggregate-{name_of_runs(run_dirs)}-{question.name}"
    if out is None:
        return write_evaluation(card, run_dirs[0], name, latest=LATEST_OF_SEVERAL)
    return write_evaluation(card, out, name, folder="")


def write_evaluation(
    card: AnyCard, directory: Path, name: str, *, folder: str = CARDS, latest: str = LATEST
) -> list[Path]:
    """Write an evaluation's card under a name of its own, and link it as the newest.

    Args:
        directory: of the run, or of cards.
        name: what was asked, as `Question.name` has it; the same question replaces its card.
        folder: within the directory; "": the directory itself.
        latest: name of the link; "": none is made.

    Returns:
        The files NAME.json, NAME.md and NAME.png, without the link.

    Raises:
        OSError: where nothing can be written, with what to do.
    """
    place = directory / folder
    try:
        place.mkdir(parents=True, exist_ok=True)
        files = _write(card, [place / f"{name}.{kind}" for kind in ("json", "md", "png")])
    except OSError as error:
        raise OSError(
            f"{place}: the card cannot be written there ({error.strerror or error}); name another "
            f"folder with --out, or write nothing with --no-write"
        ) from error
    if not latest:
        return files
    target = Path(os.path.relpath(files[0], directory)).as_posix()
    link = directory / latest
    try:
        with written_whole(link) as beside:
            beside.symlink_to(target)
    except OSError:  # a file system without links: `read_card` follows the name
        write_json(link, {"card": target})
    return files


def write_comparison(comparison: Comparison, directory: Path) -> list[Path]:
    """Write comparison.json and comparison.md.

    Returns:
        The files.
    """
    files = [directory / "comparison.json", directory / "comparison.md"]
    write_json(files[0], comparison.to_json())
    files[1].write_text(comparison_markdown(comparison))
    return files


def _write(card: AnyCard, files: list[Path]) -> list[Path]:
    """Write a card as JSON, Markdown and a picture."""
    write_json(files[0], card.to_json())
    origin = f"`{card.command}`, commit {card.commit}, seed {card_seeds(card)}, " + ", ".join(
        f"{package} {version}" for package, version in card.versions.items()
    )
    files[1].write_text(f"{card_sheet(card).markdown()}\n{origin}\n")
    plot_calibration(card, files[2])
    return files
