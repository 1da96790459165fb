"""`steer.py RUN_DIR reach`: the controllability curve."""

from __future__ import annotations

from functools import partial

from dt.cli.args import parse_args
from dt.cli.steer.call import Call, finish
from dt.steering.reach_options import ReachOptions


def run(call: Call) -> int:
    """Run the verb; returns the exit code."""
    options = parse_args(ReachOptions, call.words, call.prog)
    console, demos = call.start()

    from dt.report.search_plots import plot_reach
    from dt.report.steering_table import reach_sheet
    from dt.steering.reaching import reach

    found = reach(call.run_dir, options, demos=demos, command=call.command)
    return finish(console, found, reach_sheet(found), call.run_dir, partial(plot_reach, found))
