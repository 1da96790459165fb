"""`steer.py RUN_DIR optimize`: searches for the input that makes the wanted output."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dt.cli.args import parse_args
from dt.cli.steer.call import Call, finish
from dt.steering.optimize_options import OptimizeOptions


def run(call: Call) -> int:
    """Run the verb; returns the exit code."""
    options = parse_args(OptimizeOptions, call.words, call.prog)
    console, demos = call.start()

    from dt.report.search_plots import plot_played_inputs, plot_search
    from dt.report.steering_table import optimize_sheet, rollouts_sheet
    from dt.steering.keeping import check_file, keep
    from dt.steering.optimizing import optimize
    from dt.steering.optimizing_rollouts import optimize_rollouts

    kept = [Path(options.steer)] if options.steer else []
    for path in kept:
        check_file(path)
    if options.objective == "rollouts":
        played = optimize_rollouts(call.run_dir, options, command=call.command)
        for path in kept:
            keep(played, path)
        draw = partial(plot_played_inputs, played)
        return finish(console, played, rollouts_sheet(played), call.run_dir, draw, also=kept)
    found = optimize(call.run_dir, options, demos=demos, command=call.command)
    for path in kept:
        keep(found, path)
    draw = partial(plot_search, found)
    return finish(console, found, optimize_sheet(found), call.run_dir, draw, also=kept)
