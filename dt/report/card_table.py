"""Score cards as tables: what was asked, what came, and how the one follows the other."""

from __future__ import annotations

from rich.console import Console

from dt.acting.options import title_words
from dt.acting.request_map import RequestMap
from dt.evaluation.card import AggregateCard, AnyCard, Card
from dt.evaluation.parts import AnyTargetScore
from dt.evaluation.scores import SCORES, interval_text
from dt.report.sheet import Sheet, target_format


def print_card(card: AnyCard, console: Console) -> None:
    """Print the table target / achieved / interval / normalised score, the scores under it."""
    card_sheet(card).print(console)


def print_request_map(request_map: RequestMap, console: Console) -> None:
    """Print which request brings which return."""
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


def card_sheet(card: AnyCard) -> Sheet:
    """Lay out a card of one run, or of several."""
    aggregate = isinstance(card, AggregateCard)
    requested = card.targets[0].request is not None
    columns = ["target", *(["request"] if requested else []), "IQM" if aggregate else "achieved"]
    columns += ["95 % interval", "std of runs" if aggregate else "std", "length"]
    form = target_format([row.target for row in card.targets])
    return Sheet(
        title=card_title(card),
        columns=columns + (["normalised"] if card.reference else []),
        rows=[_row(row, form, card.takes_return) for row in card.targets],
        notes=_notes(card),
        verdict=card.verdict,
    )


def card_title(card: AnyCard) -> str:
    """Name the environment, the checkpoint or the runs, and how the policy acted."""
    who = f"{len(card.runs)} runs" if isinstance(card, AggregateCard) else _update(card)
    parts = [card.env_id, f"{who} ({card.selection})", episodes_text(card)]
    parts += title_words(card.acting_entries())
    return ", ".join([*parts, "on the device"] if card.on_device else parts)


def episodes_text(card: AnyCard) -> str:
    """Say how many episodes were played."""
    return f"{card.episodes} episodes" + (" a target" if card.takes_return else "")


def card_seeds(card: AnyCard) -> str:
    """List the seed of each run."""
    runs = card.runs if isinstance(card, AggregateCard) else [card]
    return ", ".join(str(run.seed) for run in runs)


def _update(card: Card) -> str:
    return f"update {card.checkpoint_step}"


def _row(row: AnyTargetScore, form: str, takes_return: bool) -> list[str]:
    marks = ("*" if row.ood else "") + ("" if row.reachable else "!")
    cells = [f"{row.target:{form}}{marks}" if takes_return else "none"]
    cells += [] if row.request is None else [f"{row.request:{form}}"]
    cells += [f"{row.centre:{form}}", interval_text(row.return_ci95, form)]
    cells += [f"{row.return_std:{form}}", f"{row.length_mean:.0f}"]
    return cells + ([] if row.normalized_score is None else [f"{row.normalized_score:.1f}"])


def _controls(card: Card) -> list[str]:
    """What comes unasked, and what it took to find the inputs of an ask table."""
    notes, form = [], target_format([row.target for row in card.targets])
    if card.control is not None:
        interval = interval_text(card.control.return_ci95, form)
        notes.append(f"unasked (the null token): {card.control.return_mean:{form}} ({interval})")
    if card.measured is not None:
        low, high = card.measured.lowest, card.measured.highest
        notes.append(
            f"asked by a table from {card.measured.episodes} episodes; means from {low:{form}} to "
            f"{high:{form}} can be brought about"
        )
    return notes


def _notes(card: AnyCard) -> list[str]:
    notes = []
    reference = card.reference
    if reference:
        ends = f"0 is {reference.low:.6g} and 100 is {reference.high:.6g}"
        notes.append(f"normalised: {ends}, {reference.source}")
    if card.calibration is not None:
        values = card.calibration.scores
        shown = {name: score for name, score in SCORES.items() if score.label and name in values}
        notes.append(", ".join(score.text(values[name]) for name, score in shown.items()))
    if isinstance(card, AggregateCard):
        notes.append("interquartile mean over runs; intervals say what other runs would bring")
        steps = [f"{run.name} (update {run.checkpoint_step})" for run in card.runs]
        notes.append("runs: " + ", ".join(steps))
    if any(row.ood for row in card.targets):
        shown_as = "shown as its nearest" if card.acting.clip else "shown to the model as they are"
        notes.append(f"* beyond the data's returns, {shown_as}; not part of slope and error")
    if (card.acting.calibrated or card.acting.asked) and not all(
        row.reachable for row in card.targets
    ):
        notes.append("! out of reach: the request is the one that came nearest")
    if card.beyond:
        notes.append(card.beyond.verdict)
    if isinstance(card, Card):
        notes += _controls(card)
    seconds, speed = card.wall_seconds, card.env_steps_per_second
    notes.append(f"{seconds:.1f} s, {speed:.0f} environment steps/s")
    return notes
