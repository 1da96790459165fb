"""How are updates run, some at a time, and what becomes of one that is not finite?"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dt.checkpoint.state import TrainState
from dt.config import TrainConfig
from dt.parallel.processes import largest
from dt.training.feed import Feed

# A signal is answered when the calls of the compiled program are over that are under way, two at
# most, which last about this long.
CALL_SECONDS = 1.0


class Call(NamedTuple):
    """Updates that the devices are at, or have done; their metrics are not fetched yet."""

    means: Any
    drawn_at: int  # the update that its draw begins with
    updates: int
    done: int  # updates of the run when it is over
    round_ends: bool
    clock: float


class Updates:
    """The updates that are left of a run, and the means of those since the last log line.

    What a call of the program measured is fetched when the next one is under way: devices do not
    wait for the host to look at numbers.
    """

    def __init__(
        self,
        train_steps: Any,
        done: int,
        begin: Callable[[], TrainState],
        like: TrainState,
        feed: Feed,
        config: TrainConfig,
        say: Callable[[str], None],
        log: Callable[[int, dict[str, float]], None],
    ):
        """
        Args:
            train_steps: `Learner.make_train_steps`; compiled here.
            done: updates that the state has behind it.
            begin: gives the state. It may take its time while the updates are compiled.
            like: the state's shapes, and where they lie.
            say: told about updates that are left out.
            log: called when a round's metrics are there, with the updates then done and the means
                since the last call.
        """
        self.feed, self.config, self.say, self.log = feed, config, say, log
        self.done = done
        self._train_steps = train_steps
        self._begin, self._end = self.done, self._round_end(self.done)
        self._draw = feed.round(self._begin, self._end)
        self._pace = 1  # updates a call
        self._sums = {"loss": 0.0, "grad_norm": 0.0, "skipped": 0.0}
        self._count, self._seconds = 0, 0.0
        self._under_way: Call | None = None
        self._settled_at = 0.0
        nothing = np.int32(0)
        train_steps.lower(like, feed.steps, self._draw, nothing, nothing).compile()
        self.state, _ = train_steps(begin(), feed.steps, self._draw, nothing, nothing)

    def run_some(self) -> bool:
        """Run as many as take CALL_SECONDS, to the round's end at most; whether it is reached.

        Raises:
            ValueError: for a loss or gradient that is not finite, in these updates or those before,
                naming the update and its batch.
        """
        count = min(self._pace, self._end - self.done)
        begin, clock = self._begin, time.perf_counter()
        self.state, means = self._train_steps(
            self.state, self.feed.steps, self._draw, np.int32(count), np.int32(self.done - begin)
        )
        self.done += count
        round_ends = self.done == self._end
        if round_ends and self.done < self.config.num_steps:
            # Drawn, and on its way, while the devices are at work.
            self._begin, self._end = self._end, self._round_end(self._end)
            self._draw = self.feed.round(self._begin, self._end)
        before = self._under_way
        self._under_way = Call(means, begin, count, self.done, round_ends, clock)
        self._settle(before)
        return round_ends

    def settle(self) -> None:
        """Wait for what is under way, and log what is not logged yet.

        Raises:
            ValueError: as `run_some`.
        """
        call, self._under_way = self._under_way, None
        self._settle(call)
        self._log(self.done)

    def _settle(self, call: Call | None) -> None:
        if call is None:
            return
        metrics = {name: float(value) for name, value in call.means.items()}
        now = time.perf_counter()
        # The slowest process decides the pace of all.
        seconds = float(largest(now - max(call.clock, self._settled_at)))
        self._settled_at = now
        self._pace = max(1, int(call.updates * CALL_SECONDS / max(seconds, 1e-6)))
        self._add(metrics, call.updates, seconds)
        if metrics["skipped"]:
            first = call.drawn_at + int(metrics["first_skipped"])
            self._answer_damage(metrics, first, call.round_ends)
        if call.round_ends:
            self._log(call.done)

    def _log(self, done: int) -> None:
        if not self._count:
            return
        counted = max(1.0, self._count - self._sums["skipped"])
        means = {name: self._sums[name] / counted for name in ("loss", "grad_norm")}
        means["skipped"] = self._sums["skipped"]
        means["updates_per_second"] = self._count / self._seconds
        self._sums = dict.fromkeys(self._sums, 0.0)
        self._count, self._seconds = 0, 0.0
        self.log(done, means)

    def _add(self, metrics: dict[str, float], count: int, seconds: float) -> None:
        counted = count - metrics["skipped"]
        self._sums["loss"] += metrics["loss"] * counted
        self._sums["grad_norm"] += metrics["grad_norm"] * counted
        self._sums["skipped"] += metrics["skipped"]
        self._count += count
        self._seconds += seconds

    def _answer_damage(self, metrics: dict[str, float], step: int, round_ends: bool) -> None:
        """Parameters and optimiser are as they were before the update; is that enough?"""
        what = (
            f"update {step + 1}: loss {metrics['skipped_loss']:.4g}, gradient "
            f"{metrics['skipped_grad_norm']:.4g}; its batch: {self.feed.describe(step)}"
        )
        if self.config.on_nonfinite == "stop":
            raise ValueError(
                f"{what}; nothing is saved since. Lower --optimizer.learning-rate, or leave such "
                f"updates out: --resume --on-nonfinite skip"
            )
        if round_ends and self._sums["skipped"] == self._count:
            raise ValueError(
                f"{what}; none of the last {self._count} updates is finite. Lower "
                f"--optimizer.learning-rate, or look at the data"
            )
        self.say(f"left out {int(metrics['skipped'])} update(s), the first being {what}")

    def _round_end(self, done: int) -> int:
        """Rounds end where something is due: a log line, a checkpoint, a card, or the run's end."""
        config = self.config
        intervals = (
            config.log_interval,
            config.checkpoint_interval,
            config.evaluation.interval,
        )
        ends = [done + interval - done % interval for interval in intervals if interval]
        return min([*ends, config.num_steps, done + self.feed.updates_per_round])
