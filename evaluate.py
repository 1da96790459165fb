"""Checkpoint -> rollouts at target returns -> score card. `python evaluate.py --help` for more."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dt.cli.evaluate import main

if TYPE_CHECKING:
    from dt.evaluation.evaluate import FindTask


def load_envs() -> FindTask:
    """Register environments, and threads for MuJoCo's; find those with a functional form."""
    import envs  # noqa: F401
    from envs.functional import functional_task  # starts JAX

    return functional_task


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], load_envs))
