"""Tables of steering in words: what inputs bring, and what may be asked for."""

from __future__ import annotations

import numpy as np

from dt.acting.ask_table import AskTable
from dt.report.sheet import Sheet, target_format
from dt.steering.guiding import GuideFound
from dt.steering.optimizing import OptimizeFound
from dt.steering.optimizing_rollouts import PlayedInputs
from dt.steering.reaching import ReachFound


def ask_sheet(table: AskTable, wanted: np.ndarray) -> Sheet:
    """Lay out the input that is chosen for each wanted return, and what it is expected to bring."""
    rows, form = [], target_format(wanted.tolist())
    for value, place in zip(wanted, table.chosen(wanted), strict=True):
        weight, enough, below = table.guidance[place]
        then = "" if enough == weight else f", {enough:g} below {100 * below:g} %"
        rows.append(
            [
                f"{value:{form}}",
                f"{table.requests[place]:{form}}",
                f"{weight:g}{then}",
                f"{table.achieved[place]:{form}}",
                f"{table.deviation[place]:{form}}",
                f"{table.spread[place]:{form}}",
            ]
        )
    low, high = table.interval
    measured = table.measured
    return Sheet(
        title=f"{table.env_id}, update {table.checkpoint_step}: which input brings which return",
        columns=["wanted", "request", "guidance", "expected", "+-", "std"],
        rows=rows,
        notes=[
            "expected: the mean return, +- how well it is known; std: of single episodes",
            f"{len(table.requests)} inputs from {measured['episodes']} episodes, "
            f"{measured['steps']} steps; evaluate.py --asked goes by them",
        ],
        verdict=f"means from {low:{form}} to {high:{form}} can be brought about",
    )


def optimize_sheet(found: OptimizeFound) -> Sheet:
    """Lay out what was found, beside nothing changed, random inputs and the exact optimum."""
    rows = []
    for name, scores in (("searched", found.searched), ("others", found.others)):
        columns = (scores.unedited, scores.random, scores.found, scores.exact)
        rows.append([name, *("" if x is None else f"{x.mean():.4g}" for x in columns)])
        if found.categories:
            shares = ["" if x is None else f"{np.exp(x).mean():.4g}" for x in columns]
            rows.append([f"{name}, probability", *shares])
    unit = "bits" if found.in_bits else "as scored"
    universal = len(found.inputs) == 1 < len(found.searched.found)
    others = "contexts that no search saw" if universal else "each input in the next context"
    notes = [
        f"{found.what}; wanted: {found.wanted}",
        f"others: {others}; random: the best of as many passes",
        f"lift {found.searched.lift(found.in_bits):+.3g} {unit}, on others "
        f"{found.others.lift(found.in_bits):+.3g}; edits {found.edits.mean():.3g}, distance "
        f"{found.distances.mean():.3g}"
        + ("" if found.radius is None else f", norms at most {found.radius:.3g}"),
        f"better than random in {found.wins} of {found.decided} contexts that differ "
        f"(sign test p = {found.sign_p:.2g})",
    ]
    if found.played is not None:
        p = found.played
        aim = "" if p.wanted is None else f", wanted {p.wanted:g}"
        notes.append(
            f"{len(p.steered)} episodes with it brought {p.steered.mean():.4g}, the same seeds "
            f"with the random one {p.random.mean():.4g}, without any {p.plain.mean():.4g}{aim}"
        )
    options = found.outcome.options
    return Sheet(
        title=f"{found.outcome.source}: {options['space']} by {found.method}",
        columns=["contexts", "unedited", "random", "found", "exact"],
        rows=rows,
        notes=notes,
        verdict="",
    )


def rollouts_sheet(found: PlayedInputs) -> Sheet:
    """Lay out what the found input brings on new seeds, beside nothing changed and random ones."""
    columns = {"unedited": found.unedited, "random": found.random, "found": found.found}
    rows = [
        [name, f"{returns.mean():.4g}", f"{returns.std():.3g}", str(len(returns))]
        for name, returns in columns.items()
    ]
    aim = "the most" if found.wanted is None else f"{found.wanted:g}"
    at = f"the input is {found.inputs[0, 0]:.5g}" if found.inputs.size == 1 else ""
    played = f"{len(found.tried)} inputs were played by {found.method}, as many at random"
    return Sheet(
        title=f"{found.outcome.source}: {found.outcome.options['space']} for a return of {aim}",
        columns=["input", "mean return", "std", "episodes"],
        rows=rows,
        notes=[played, *([at] if at else [])],
        verdict="",
    )


def guide_sheet(found: GuideFound) -> Sheet:
    """Lay out the dose curve: a row a weight, the mean return of each target in columns."""
    targets = sorted({dose.target for dose in found.doses})
    form = target_format(targets)
    rows = []
    for weight in sorted({dose.weight for dose in found.doses}):
        doses = sorted((d for d in found.doses if d.weight == weight), key=lambda d: d.target)
        rows.append(
            [
                f"{weight:g}",
                *(f"{d.returns.mean():{form}} ({d.returns.std():{form}})" for d in doses),
                f"{np.mean([d.distance for d in doses]):.3f}",
                f"{100 * np.mean([d.at_bounds for d in doses]):.1f} %",
            ]
        )
    episodes = len(found.doses[0].returns)
    return Sheet(
        title=f"{found.outcome.source}: weights of guidance",
        columns=["w", *(f"asked {t:{form}}" for t in targets), "distance", "at bounds"],
        rows=rows,
        notes=[
            f"mean (std) of {episodes} episodes; 0 is the unconditional policy, 1 the conditional",
            f"distance: from the unconditional action at contexts, {found.distance_unit}",
            "at bounds: numbers at a bound of their space, categories with probability 99 %",
            f"nearest to what was asked in even episodes: {found.best:g}; odd ones judge it",
        ],
        verdict="",
    )


def reach_sheet(found: ReachFound) -> Sheet:
    """Lay out the curve: a row a number of edits."""
    rows = []
    for k, exact, drawn, tried, every in zip(
        found.edits, found.exact, found.random, found.tried, found.all_edits, strict=True
    ):
        share = "" if exact is None else f"{100 * exact.mean():.1f} %"
        rows.append([str(k), share, f"{100 * drawn.mean():.1f} %", f"{every:,}", f"{tried:,}"])
    options = found.outcome.options
    return Sheet(
        title=f"{found.outcome.source}: what edits of {options['space']} bring about",
        columns=["edits", "exact", "drawn", "all inputs", "drawn inputs"],
        rows=rows,
        notes=[
            f"share of wanted outputs ({found.wanted}) in {len(found.random[0])} contexts that "
            f"some input with at most so many edits brings about",
            "exact: all inputs tried; drawn: as many as the last column says",
        ],
        verdict="",
    )
