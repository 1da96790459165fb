"""What `intervene` puts where, and how its effect is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dt.config.checks import Count, CountOrNone, Seed, check_bounds, require

HowTo = Literal["set", "add", "shuffle", "freeze", "null", "donor"]


@dataclass(frozen=True)
class InterveneOptions:
    """Put something else in place of what a policy is told, or of what stands at a named point of
    its model, and play the same episodes with and without it. With --patch instead: where in the
    model does the effect travel? `--at list` prints all points."""

    at: str = "inputs.return"
    """The point: inputs.return, tokens.action, blocks.0.attention.heads, residual.1, ..."""
    how: HowTo = "shuffle"
    """set or add --value; shuffle: one of the values of other contexts, at every step another;
    freeze: as it was at --first; null: nothing; donor: what another episode has there."""
    value: tuple[float, ...] = ()
    """To set or add: one number for all, or one for each feature; of inputs in the environment's
    units, of returns in those of targets."""
    token: Literal["", "return", "observation", "action"] = ""
    """Of which tokens of a timestep, inside the model; empty: all."""
    heads: tuple[int, ...] = ()
    """Which heads, of attention.heads and attention.weights; empty: all."""
    features: tuple[int, ...] = ()
    """Which numbers of the point; empty: all."""
    first: CountOrNone = 0
    """The first step of the episode at which it holds."""
    last: int = -1
    """The last one; -1: to the end."""
    donor: str = "p95"
    """The return of the episode of the data that is the donor: a number, or a percentile."""
    patch: bool = False
    """Play nothing: put clean values back into the model that is told the edit, one layer, timestep
    and head at a time, and measure how much of its effect that undoes."""
    targets: tuple[str, ...] = ("p5:p95:7",)
    """Returns to ask for: numbers, percentiles, or spans."""
    episodes: Count = 10
    """For each target, with and without the edit, of the same seeds."""
    contexts: Count = 48
    """Windows of the data: what is shuffled comes from them, and --patch runs on them."""
    deterministic: bool = False
    """Take the likeliest action instead of sampling."""
    keep: str = ""
    """File to keep the edit in, with its effect: x.steer, for evaluate.py --steer."""
    data: str = ""
    """Data that contexts and donors come from; empty: the run's own."""
    seed: Seed = 0
    """Decides contexts and the starts of episodes."""
    env: str = ""
    """Environment id; empty: the one the data came from."""
    checkpoint: str = "last"
    """Which checkpoint plays: last, best or an update's number."""

    def __post_init__(self) -> None:
        check_bounds(self)
        given = self.how in ("set", "add")
        need = "what to set or add" if given else "left out"
        require(bool(self.value) == given, "value", self.value, f"{need} where how is {self.how}")
        require(self.last >= self.first or self.last == -1, "last", self.last, "at least first")
        require(self.episodes > 1, "episodes", self.episodes, "at least 2")

    @property
    def name(self) -> str:
        """What its files are called by."""
        steps = "" if (self.first, self.last) == (0, -1) else f"-{self.first}-to-{self.last}"
        kind = "patch-" if self.patch else ""
        return f"{kind}{self.how}-{self.at}{steps}"
