"""Does a progress bar show how far it came?"""

from __future__ import annotations

import io

from rich.console import Console
from rich.text import Text

from dt.cli.progress import episode_progress, training_progress


def test_progress_shows_how_far_it_came() -> None:
    text = io.StringIO()
    console = Console(file=text, width=160, force_terminal=True)
    with episode_progress(console, total=8) as on_step:
        on_step(8, 96)
    with training_progress(console, total=40) as on_round:
        on_round(40, {"loss": 0.125, "updates_per_second": 10.0})
    plain = Text.from_ansi(text.getvalue()).plain  # without colours
    assert "8/8 episodes, 96 steps" in plain
    assert "40/40 loss 0.1250, 10.0 updates/s" in plain
