"""`steer.py RUN_DIR explain`: to which inputs the actions are owed, and what would change them."""

from __future__ import annotations

from functools import partial

from dt.cli.args import parse_args
from dt.cli.steer.call import Call, finish
from dt.steering.explain_options import ExplainOptions


def run(call: Call) -> int:
    """Run the verb; returns the exit code."""
    options = parse_args(ExplainOptions, call.words, call.prog)
    console, demos = call.start()

    from dt.report.explain_plots import plot_explained
    from dt.report.explain_table import explain_sheet
    from dt.steering.explaining import explain

    found = explain(call.run_dir, options, demos=demos, command=call.command)
    draw = partial(plot_explained, found)
    return finish(console, found, explain_sheet(found), call.run_dir, draw)
