"""What each row of a policy brings to its next step, kept on the host between the steps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt32


class Pending(NamedTuple):
    """What each row brings to the next step."""

    starting: Bool[np.ndarray, " B"]
    requests: Float[np.ndarray, " B"]  # of rows that start
    seeds: UInt32[np.ndarray, " B"]
    rewards: Float[np.ndarray, " B"]  # since the last step, in the units of targets
    timesteps: Int[np.ndarray, " B"]  # of the next observation
    guidance: Float[np.ndarray, "B 3"]  # of rows that start, as ActingOptions.guidance_numbers

    @classmethod
    def empty(cls, num_rows: int) -> Pending:
        """Make what rows bring that have neither started nor received anything."""
        return cls(
            starting=np.zeros(num_rows, bool),
            requests=np.zeros(num_rows, np.float32),
            seeds=np.zeros(num_rows, np.uint32),
            rewards=np.zeros(num_rows, np.float32),
            timesteps=np.zeros(num_rows, np.int64),
            guidance=np.ones((num_rows, 3), np.float32),
        )

    def started(
        self,
        rows: Bool[np.ndarray, " B"],
        requests: Float[np.ndarray, " B"],
        seeds: Int[np.ndarray, " B"],
        guidance: Float[np.ndarray, "*B 3"],
    ) -> Pending:
        """Start episodes in these rows; others keep what is pending, their rewards above all."""
        return Pending(
            starting=self.starting | rows,
            requests=np.where(rows, requests, self.requests),
            seeds=np.where(rows, seeds, self.seeds).astype(np.uint32),
            rewards=np.where(rows, 0, self.rewards).astype(np.float32),
            timesteps=np.where(rows, 0, self.timesteps),
            guidance=np.where(rows[:, None], guidance, self.guidance).astype(np.float32),
        )

    def asked(
        self,
        rows: Bool[np.ndarray, " B"],
        requests: Float[np.ndarray, " B"],
        remaining: Float[np.ndarray, " B"],
        discount: float,
    ) -> Pending:
        """Ask for something else in these rows from the next step on.

        A step subtracts the rewards from what remained, so those are pending that leave the new
        request: the program and the past in it stay as they are. A row whose return is not finite
        stays so, to the end of its episode.

        Args:
            remaining: what was asked for at the last step.
            discount: of the returns.
        """
        leaving = remaining.astype(np.float64) - discount * requests.astype(np.float64)
        rewards = np.where(rows & ~self.starting, leaving, self.rewards)
        return self._replace(
            requests=np.where(rows & self.starting, requests, self.requests),
            rewards=rewards.astype(np.float32),
        )

    def acted(self) -> Pending:
        """Give what is left once a step has been taken."""
        return self._replace(
            starting=np.zeros_like(self.starting),
            rewards=np.zeros_like(self.rewards),
            timesteps=self.timesteps + 1,
        )


def rows_to_reset(
    where: Bool[np.ndarray, " B"] | None, num_rows: int, is_running: bool
) -> Bool[np.ndarray, " B"]:
    """Find the rows that begin: all of them where no episodes of that many are running.

    Raises:
        ValueError: for some rows of none that run, and as `chosen_rows`.
    """
    if not is_running:
        if where is not None and not np.all(where):
            raise ValueError(
                f"where resets some of {num_rows} rows, but no episodes of that many rows are "
                f"running; reset all rows first"
            )
        where = None
    return chosen_rows(where, num_rows)


def chosen_rows(where: Bool[np.ndarray, " B"] | None, num_rows: int) -> Bool[np.ndarray, " B"]:
    """Check a choice of rows, which by default is all of them.

    Raises:
        ValueError: for anything else than a Boolean a row.
    """
    rows = np.ones(num_rows, bool) if where is None else np.array(where)
    if rows.shape != (num_rows,) or rows.dtype != bool:
        raise ValueError(
            f"where is {rows.dtype} of shape {rows.shape}; give one Boolean for each of "
            f"{num_rows} rows"
        )
    return rows


def check_seeds(seeds: Int[np.ndarray, "*B"] | list[int] | int | None, num_rows: int) -> None:
    """Refuse seeds that are not one whole number a row, 0 or more."""
    if seeds is None:
        return
    given = np.asarray(seeds)
    if given.shape != (num_rows,) or given.dtype.kind not in "iu" or (given < 0).any():
        raise ValueError(
            f"seeds are {seeds}; give one whole number, 0 or more, for each of {num_rows} rows"
        )
