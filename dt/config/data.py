"""Options of the data: where they are, what is made of them, and how much one update sees."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dt.config.checks import BelowOne, Count, Positive, Share, check_bounds, require
from dt.data.formats.frames import USUAL, ColumnNames
from dt.data.transforms import Transforms


def cache_home() -> Path:
    """Find where things are kept that can be made again: compiled programs, training stores."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dt-steer"


@dataclass(frozen=True)
class DataConfig:
    """What the model learns from, and how much of it one update sees."""

    source: Annotated[str, tyro.conf.arg(aliases=["--data"])] = ""
    """A file, glob, folder or local Minari id; 'demo:cartpole' makes its own."""
    batch_size: Count = 64
    """Windows of context_length timesteps an update."""
    windows_per_segment: Count = 2
    """Consecutive windows trained as one segment; above 1 the cached policy is what was trained."""
    num_micro_batches: Count = 1
    """Parts whose gradients are summed one after the other; small parts stay in a CPU's cache."""
    holdout_fraction: BelowOne = 0.0
    """Share of the episodes that no update sees; their loss is logged, and shows over-fitting."""
    top_fraction: Share = 1.0
    """Train on the best episodes by return alone; 0.1 without returns in the layout is 10 % BC."""
    delay_reward: bool = False
    """All of an episode's reward comes with its last step."""
    reward_scale: Positive = 1.0
    """Factor of all rewards, in the data and at play; reward_shift is added afterwards."""
    reward_shift: float = 0.0
    """Rewards become reward * reward_scale + reward_shift, in the data and at play."""
    discount: Share = 1.0
    """Discount of the return for each step ahead; targets and scores are then discounted too."""
    normalize_observations: bool = True
    """Shift and scale each observed number to mean 0 and standard deviation 1 over the data."""
    unit_actions: bool = False
    """Logged actions lie in [-1, 1] and are scaled to the bounds of the environment's space."""
    reward: str = ""
    """LeRobot: the reward's column, or 'success' or 'final'; empty: next.reward."""
    columns: ColumnNames = USUAL
    cache: str = ""
    """Folder of training stores; empty: ~/.cache/dt-steer/data; 'none': keep the data in memory."""
    placement: Literal["auto", "device", "host", "disk"] = "auto"
    """Where the data lies while training; auto: on the device, or in memory, if it fits."""

    def __post_init__(self) -> None:
        check_bounds(self, "data.")
        needed = f"a multiple of windows_per_segment={self.windows_per_segment}"
        whole = self.batch_size % self.windows_per_segment == 0
        require(whole, "data.batch_size", self.batch_size, needed)
        needed = f"a divisor of the {self.num_segments} segments of a batch"
        whole = self.num_segments % self.num_micro_batches == 0
        require(whole, "data.num_micro_batches", self.num_micro_batches, needed)

    @property
    def transforms(self) -> Transforms:
        names = (field.name for field in dataclasses.fields(Transforms))
        return Transforms(**{name: getattr(self, name) for name in names})

    @property
    def cache_dir(self) -> Path | None:
        """Where training stores are kept; None to keep the data in memory."""
        if self.cache == "none":
            return None
        return Path(self.cache).expanduser() if self.cache else cache_home() / "data"

    @property
    def num_segments(self) -> int:
        """Rows of a batch."""
        return self.batch_size // self.windows_per_segment
