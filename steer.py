"""Weights held fixed, which input makes the wanted output? `python steer.py --help` for more."""

from __future__ import annotations

import sys

from dt.cli.steer import main


def load_envs() -> None:
    """Register environments, and threads for MuJoCo's."""
    import envs  # noqa: F401


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], load_envs))
