"""What `ask` may take, and how the policy plays while it is measured."""

from __future__ import annotations

from dataclasses import dataclass

from dt.config.checks import Count, Seed, check_bounds


@dataclass(frozen=True)
class AskOptions:
    """Find the inputs, a request and weights of guidance each, that bring wanted returns. Episodes
    are counted, and no card plays them. RUN_DIR/ask.json then serves evaluate.py --asked and
    load_policy(RUN_DIR, asked=True)."""

    budget: Count = 700
    """Episodes that may be played, all told."""
    seed: Seed = 0
    """Decides which inputs are played, and the starts of their episodes, which no card plays."""
    env: str = ""
    """Environment id; empty: the one the data came from."""
    checkpoint: str = "last"
    """Which checkpoint plays: last, best or an update's number."""
    deterministic: bool = False
    """Take the likeliest action instead of sampling."""

    def __post_init__(self) -> None:
        check_bounds(self)
