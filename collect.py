"""Environment + behavior policies -> Minari data set. `python collect.py --help` for more."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from dt.cli.collect import main

if TYPE_CHECKING:
    from dt.cli.collect import Players


def load_players() -> Players:
    """Register environments, and give the scripted players by name."""
    from envs import PLAYERS

    return PLAYERS


if __name__ == "__main__":
    # Before NumPy is imported: a row's products are too small to share among threads, and how
    # many there are would decide the last bit.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(main(sys.argv[1:], load_players))
