"""Weights held fixed, which input makes the wanted output? `python steer.py --help` for more."""

from __future__ import annotations

import sys

from dt.cli.steer import Demos, main


def load_envs() -> Demos:
    """Register environments, and threads for MuJoCo's; give what makes their demos."""
    from envs import load_demo

    return load_demo


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], load_envs))
