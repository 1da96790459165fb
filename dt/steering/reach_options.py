"""What `reach` counts: which inputs may be edited, how often, and what is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from dt.config.checks import Count, CountOrNone, Positive, Seed, check_bounds, require


@dataclass(frozen=True)
class ReachOptions:
    """Draw the controllability curve: the share of wanted outputs that some input with at most k
    edits brings about ("What's the Magic Word?", arXiv 2310.04444), by trying every edit for small
    k, and by drawing edits beside it."""

    space: Literal["return", "observation", "actions"] = "return"
    """What is edited: the last return tokens, numbers of the last observation, or past actions."""
    length: Count = 4
    """Return tokens, or past actions, that may be edited."""
    most: Annotated[int, Interval(ge=1, le=16)] = 4
    """Edits, at the end of the curve."""
    levels: Count = 11
    """Values that a return or an observed number may be set to, evenly over its range."""
    epsilon: Positive = 0.5
    """Of observations: how far a number may be moved, in standard deviations of the data."""
    wanted: Count = 8
    """Outputs that are wanted in each context: actions logged in others; all of a category."""
    tolerance: Positive = 0.1
    """Of actions that are numbers: root mean square, in the model's units, that counts as there."""
    contexts: Count = 32
    """Windows of the data."""
    budget: Count = 256
    """Edits of each context that are drawn for each k."""
    exact: CountOrNone = 100_000
    """Most passes for one k, all contexts told, by which every edit is tried."""
    null: bool = False
    """The null token stands where returns would: the unconditional policy."""
    data: str = ""
    """Data that contexts come from; empty: the run's own, held out where it held any out."""
    seed: Seed = 0
    """Decides contexts and what is drawn."""
    checkpoint: str = "last"
    """Which checkpoint: last, best or an update's number."""
    name: str = ""
    """Of the files; empty: the space."""

    def __post_init__(self) -> None:
        check_bounds(self)
        require(self.levels > 1, "levels", self.levels, "at least 2")
