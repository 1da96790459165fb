"""What a command comes to: its exit code, and one line of what could not be done."""

from __future__ import annotations

import sys
from collections.abc import Callable


def exit_code(prog: str, command: Callable[[], int], stopped: str = "{why}") -> int:
    """Run a command, and turn what it raises into a line and an exit code.

    Args:
        prog: what the user typed, before the line.
        command: gives its exit code.
        stopped: the line of a command that was stopped; {why} is what the interrupt says, or
            "stopped".

    Returns:
        The command's code; 2 for what cannot be done, 130 where it was stopped.
    """
    try:
        return command()
    except (ValueError, OSError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        line = stopped.format(why=str(interrupt) or "stopped")
        print(f"{prog}: {line}", file=sys.stderr)
        return 130
