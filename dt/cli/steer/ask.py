"""`steer.py RUN_DIR ask`: measures what inputs bring, prints what may be asked for."""

from __future__ import annotations

from functools import partial

from dt.cli.args import parse_args
from dt.cli.steer.call import Call, finish
from dt.steering.ask_options import AskOptions


def run(call: Call) -> int:
    """Run the verb; returns the exit code."""
    options = parse_args(AskOptions, call.words, call.prog)
    console, _ = call.start()

    from dt.acting.ask_table import ASK_TABLE
    from dt.cli.progress import episode_progress
    from dt.report.steering_plots import plot_ask_table
    from dt.report.steering_table import ask_sheet
    from dt.steering.asking import ask

    with episode_progress(console, options.budget) as on_step:
        found = ask(call.run_dir, options, on_step=on_step, command=call.command)
    sheet = ask_sheet(found.table, found.wanted)
    draw = partial(plot_ask_table, found.table, found.wanted)
    return finish(console, found, sheet, call.run_dir, draw, also=[call.run_dir / ASK_TABLE])
