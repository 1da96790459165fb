"""`steer.py RUN reach` and `optimise` of a run on text: prefixes that make a token come next."""

from __future__ import annotations

from pathlib import Path

from dt.cli.args import parse_args
from dt.cli.steer.call import Call, finish

VERBS = {
    "reach": "how often a prefix of k tokens makes the true next token the likeliest",
    "optimise": "which prefix of k tokens raises a wanted token, and by how many bits",
}


def run(call: Call, verb: str) -> int:
    """Run the verb; returns the exit code."""
    from dt.text.reach import ReachOptions, reach

    options = parse_args(ReachOptions, call.words, call.prog)
    if (verb == "optimise") != bool(options.want):
        said = "it names the token" if verb == "optimise" else "optimise is the verb for it"
        raise ValueError(f"{verb}: --want is {options.want!r}; {said}")
    console, _ = call.start()
    from dt.report.sheet import Sheet

    found = reach(call.run_dir, options, command=call.command)
    rows = [
        [
            f"{row.k}{' (exact)' if row.exact and row.k else ''}",
            f"{100 * row.reached:.1f} %",
            f"{100 * row.reached_random:.1f} %",
            f"{row.lift:+.2f}",
            f"{row.lift_random:+.2f}",
            f"{row.tried:.0f}",
        ]
        for row in found.rows
    ]
    sheet = Sheet(
        title=f"{call.run_dir}: tokens before {options.contexts} held-out texts",
        columns=["k", "reached", "random", "bits", "random", "tried"],
        rows=rows,
        notes=list(found.examples),
        verdict="",
    )
    return finish(
        console, found, sheet, call.run_dir, lambda path: _write(path, sheet.markdown()), ".md"
    )


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
