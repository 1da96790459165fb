"""What `guide` plays: weights, targets, episodes."""

from __future__ import annotations

from dataclasses import dataclass

from dt.config.checks import Count, NotNegative, Seed, check_bounds, require


@dataclass(frozen=True)
class GuideOptions:
    """Draw the dose curve of guidance: what the return, read with weight w, does to returns that
    come, to the actions' distance from those of the unconditional policy, and to how many of them
    lie at the bounds of the space."""

    weights: tuple[NotNegative, ...] = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
    """Of the condition; 0 is the unconditional policy and 1 the conditional one."""
    targets: tuple[str, ...] = ("p10", "p50", "p90")
    """Returns to ask for: numbers, or percentiles of the data's returns."""
    episodes: Count = 10
    """For each weight and target."""
    contexts: Count = 128
    """Windows of the data at which actions are compared."""
    deterministic: bool = False
    """Take the likeliest action instead of sampling."""
    data: str = ""
    """Data that contexts come from; empty: the run's own, held out where it held any out."""
    seed: Seed = 0
    """Decides contexts and the starts of episodes."""
    env: str = ""
    """Environment id; empty: the one the data came from."""
    checkpoint: str = "last"
    """Which checkpoint plays: last, best or an update's number."""

    def __post_init__(self) -> None:
        check_bounds(self)
        require(len(self.weights) > 1, "weights", self.weights, "two or more")
        require(0.0 in self.weights, "weights", self.weights, "among them 0, the control")
        require(self.episodes > 1, "episodes", self.episodes, "at least 2")
