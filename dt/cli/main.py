"""`dt COMMAND ...`: the commands of the installed package."""

from __future__ import annotations

import importlib
import sys

COMMANDS = {
    "data": ("dt.cli.data", "show what a log holds, or convert it"),
    "export": ("dt.cli.export", "write a policy as one file that JAX alone runs"),
}


def main() -> int:
    command, *args = sys.argv[1:] or ["--help"]
    if command in ("-h", "--help"):
        print("usage: dt COMMAND ...; `dt COMMAND --help` says what it takes")
        for name, (_, does) in COMMANDS.items():
            print(f"  {name:<10}{does}")
        return 0
    if command not in COMMANDS:
        print(f"dt: no command {command!r}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    # Imported when it is chosen: some commands start without JAX.
    return importlib.import_module(COMMANDS[command][0]).main(args)
