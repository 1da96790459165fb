"""Tables of steering in words: what inputs bring, and what may be asked for."""

from __future__ import annotations

import numpy as np

from dt.acting.ask_table import AskTable
from dt.report.sheet import Sheet, target_format


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
