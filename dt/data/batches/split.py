"""Some episodes of the data: those to train on, and those held out to see over-fitting by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from dt.data.batches.prefixes import Kind, draw_prefixes, rank_by_return
from dt.data.batches.windows import ENDS, Windows, draw_ends, draw_windows

HOLDOUT = 0x401D  # with the seed, of the random numbers that choose episodes


@dataclass(frozen=True, eq=False)
class EpisodePart:
    """Some episodes, to draw windows from as if no others were there."""

    offsets: Int[np.ndarray, " E1"]
    """Where they would begin if they lay side by side, and the end."""
    shifts: Int[np.ndarray, " E"] | None
    """From there to where they do begin; None where that is all of the data."""
    ranks: Int[np.ndarray, "2 E"]
    """As `rank_by_return` has it."""

    @classmethod
    def whole(
        cls, offsets: Int[np.ndarray, " E1"], returns: Float[np.ndarray, " E"]
    ) -> EpisodePart:
        """Take all episodes of the data."""
        return cls(offsets, None, rank_by_return(returns))

    @classmethod
    def of(
        cls,
        offsets: Int[np.ndarray, " N1"],
        returns: Float[np.ndarray, " N"],
        episodes: Int[np.ndarray, " E"],
    ) -> EpisodePart:
        """Take the episodes of these numbers."""
        own = np.concatenate([[0], np.cumsum(np.diff(offsets)[episodes])])
        return cls(own, offsets[episodes] - own[:-1], rank_by_return(returns[episodes]))

    @property
    def num_steps(self) -> int:
        """Count the steps of all its episodes."""
        return int(self.offsets[-1])

    def draw(
        self,
        num_steps: int,
        seed: int,
        step: int,
        rows: range,
        prefix: Kind | None = None,
        prompt_length: int = 1,
    ) -> Windows:
        """Draw windows as `draw_windows` does, and what stands before them as `draw_prefixes`.

        Args:
            prefix: what stands before each of them; None: nothing.
            prompt_length: steps of a prompt.

        Returns:
            Windows of the data, whose `start` counts all of its steps.
        """
        windows = draw_windows(self.offsets, num_steps, seed, step, rows)
        return self._with_prefixes(windows, seed, step, rows, prefix, prompt_length)

    def draw_ends(
        self,
        num_steps: int,
        seed: int,
        rows: range,
        prefix: Kind | None = None,
        prompt_length: int = 1,
    ) -> Windows:
        """Draw windows as the function of that name does; prefixes are those of `draw`."""
        windows = draw_ends(self.offsets, num_steps, seed, rows)
        return self._with_prefixes(windows, seed, ENDS, rows, prefix, prompt_length)

    def _with_prefixes(
        self,
        windows: Windows,
        seed: int,
        step: int,
        rows: range,
        prefix: Kind | None,
        prompt_length: int,
    ) -> Windows:
        if prefix is None:
            return self._in_data(windows)
        before = draw_prefixes(
            windows, self.offsets, self.ranks, prefix, prompt_length, seed, step, rows
        )
        return self._in_data(windows)._replace(prefix=self._in_data(before))

    def _in_data(self, windows: Windows) -> Windows:
        if self.shifts is None:
            return windows
        episode = np.searchsorted(self.offsets, windows.start, side="right") - 1
        return windows._replace(start=windows.start + self.shifts[episode])


def split_episodes(
    offsets: Int[np.ndarray, " E1"],
    returns: Float[np.ndarray, " E"],
    holdout_fraction: float,
    seed: int,
) -> tuple[EpisodePart, EpisodePart | None]:
    """Split the data by episode into a part to train on and a part that is held out.

    Which episodes are held out depends on the seed and their number alone.

    Args:
        holdout_fraction: of the episodes; at least one is held out, unless it is 0.

    Returns:
        Both parts; without a fraction all of the data, and None.

    Raises:
        ValueError: where nothing would be left to train on.
    """
    if holdout_fraction == 0.0:
        return EpisodePart.whole(offsets, returns), None
    num_episodes = len(returns)
    held = max(1, round(holdout_fraction * num_episodes))
    if held >= num_episodes:
        raise ValueError(
            f"data.holdout_fraction {holdout_fraction} holds out {held} of {num_episodes} "
            f"episode(s), which leaves none to train on; lower it"
        )
    order = np.random.default_rng([HOLDOUT, seed]).permutation(num_episodes)
    parts = (np.sort(order[held:]), np.sort(order[:held]))
    training, holdout = (EpisodePart.of(offsets, returns, episodes) for episodes in parts)
    return training, holdout
