"""`steer.py RUN_DIR intervene`: puts something else at a point, and plays or patches with it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dt.cli.args import parse_args
from dt.cli.steer.call import Call, finish
from dt.steering.intervene_options import InterveneOptions

LIST = "list"


def run(call: Call) -> int:
    """Run the verb; returns the exit code."""
    options = parse_args(InterveneOptions, call.words, call.prog)
    console, demos = call.start()

    from dt.report.explain_plots import plot_intervened, plot_patched
    from dt.report.explain_table import intervene_sheet, patch_sheet
    from dt.steering.subject import Subject

    if options.at == LIST:
        from dt.steering.running import points

        console.print(points(Subject.of(call.run_dir, options.checkpoint).policy), markup=False)
        return 0
    if options.patch:
        from dt.steering.patching import patch

        patched = patch(call.run_dir, options, demos=demos, command=call.command)
        draw = partial(plot_patched, patched)
        return finish(console, patched, patch_sheet(patched), call.run_dir, draw)

    from dt.acting.targets import parse_targets
    from dt.cli.progress import episode_progress
    from dt.steering.intervening import intervene

    spec = Subject.of(call.run_dir, options.checkpoint).policy.spec
    count = len(parse_targets(list(options.targets), spec.dataset))
    with episode_progress(console, 3 * count * options.episodes) as on_step:
        found = intervene(call.run_dir, options, demos=demos, on_step=on_step, command=call.command)
    kept = [Path(options.keep)] if options.keep else []
    draw = partial(plot_intervened, found)
    return finish(console, found, intervene_sheet(found), call.run_dir, draw, also=kept)
