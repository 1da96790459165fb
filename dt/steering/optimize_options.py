"""What `optimize` searches for, where, how and with how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dt.config.checks import Count, CountOrNone, Positive, Seed, check_bounds, require

METHODS = ("auto", "gradient", "sweep", "greedy", "beam", "cem", "random")


@dataclass(frozen=True)
class OptimizeOptions:
    """Find the input that makes the wanted output, with the weights held fixed. Every result stands
    beside what random inputs came to at the same budget, and the exact optimum where all inputs can
    be tried."""

    objective: Literal["action", "return", "rollouts"] = "action"
    """What is wanted: an action at the end of contexts, a high predicted return (of models that
    predict one), or a return of played episodes."""
    want: str = ""
    """Of action: the environment's own (1, or 0.5,-0.2,0), least (likely), other (logged in another
    context), asked:R (what is done when asked for the return R); empty: least of a category, else
    other. Of rollouts: a return, or empty for the most."""
    space: Literal["return", "returns", "prefix", "observation", "actions"] = "return"
    """What may change: the last return token, all past returns, soft vectors before all tokens, the
    last observation within a box of epsilon, or the last actions."""
    method: Literal["auto", "gradient", "sweep", "greedy", "beam", "cem", "random"] = "auto"
    """How; auto: gradient for numbers, greedy (by the gradient) for tokens, cem for episodes."""
    universal: bool = False
    """One input for all contexts, judged on as many others."""
    length: Count = 4
    """Vectors of the prefix, or past actions."""
    epsilon: Positive = 0.1
    """Of observations, in standard deviations of the data."""
    null: bool = False
    """The null token stands where returns would: the unconditional policy is steered."""
    contexts: Count = 32
    """Windows of the data that are searched for."""
    budget: Count = 240
    """Passes for each search, a gradient counting three; of rollouts: inputs that are played."""
    restarts: Count = 8
    """Of gradients."""
    levels: Count = 101
    """Of the grid that a sweep tries of each number."""
    exact: CountOrNone = 200_000
    """Most passes, all told, that the exact optimum may take; 0: never."""
    episodes: CountOrNone = 0
    """Episodes to play with what was found and without it; of rollouts, those of each input (10
    if 0)."""
    request: str = "p50"
    """Return that is asked for in those episodes: a number, or the data's percentile."""
    data: str = ""
    """Data that contexts come from; empty: the run's own, held out where it held any out."""
    seed: Seed = 0
    """Decides contexts, searches and the starts of episodes."""
    env: str = ""
    """Environment id; empty: the one the data came from."""
    checkpoint: str = "last"
    """Which checkpoint: last, best or an update's number."""
    steer: str = ""
    """File, x.steer, to keep a prefix or a request in that is for all contexts: evaluate.py --steer
    and load_policy(RUN, steer="x.steer") act by it."""
    name: str = ""
    """Of the files; empty: made from the space, the objective and the method."""

    def __post_init__(self) -> None:
        check_bounds(self)
        require(self.levels > 1, "levels", self.levels, "at least 2")
        played = self.objective == "rollouts"
        if played and self.space not in ("return", "prefix"):
            raise ValueError(
                f"--space {self.space} is of single contexts; rollouts take return or prefix"
            )
        if played and self.method in ("gradient", "greedy", "beam"):
            raise ValueError(
                f"--method {self.method} with --objective rollouts: episodes have no gradient and "
                f"no tokens; take cem, sweep or random"
            )
        if self.episodes and not played and not (self.universal and self.space == "prefix"):
            raise ValueError(
                "--episodes plays one prefix that is for all contexts; add --universal --space "
                "prefix, or leave it out"
            )

        if self.steer and not (played or (self.universal and self.space == "prefix")):
            raise ValueError(
                f"--steer {self.steer} keeps what is for all contexts; add --universal --space "
                f"prefix, or --objective rollouts, or leave it out"
            )

    @property
    def label(self) -> str:
        """Tells the outcome's files from others."""
        words = [self.space, self.objective, *(["universal"] if self.universal else [])]
        return self.name or "-".join([*words, *([] if self.method == "auto" else [self.method])])
