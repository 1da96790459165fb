"""`steer.py RUN_DIR guide`: the dose curve of guidance."""

from __future__ import annotations

from functools import partial

from dt.cli.args import parse_args
from dt.cli.steer.call import Call, finish
from dt.steering.guide_options import GuideOptions


def run(call: Call) -> int:
    """Run the verb; returns the exit code."""
    options = parse_args(GuideOptions, call.words, call.prog)
    console, demos = call.start()

    from dt.cli.progress import episode_progress
    from dt.report.search_plots import plot_doses
    from dt.report.steering_table import guide_sheet
    from dt.steering.guiding import guide

    total = len(options.weights) * len(options.targets) * options.episodes
    with episode_progress(console, total) as on_step:
        found = guide(call.run_dir, options, demos=demos, on_step=on_step, command=call.command)
    return finish(console, found, guide_sheet(found), call.run_dir, partial(plot_doses, found))
