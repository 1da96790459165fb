"""Updates run some at a time, and what becomes of one that is not finite."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from dt.checkpoint.state import TrainState
from dt.config import RunConfig
from dt.parallel.processes import largest
from dt.training.hooks import Hooks, Means
from dt.training.learning import AnyFeed
from dt.training.program import HoldoutLoss, Measured, TrainSteps

# A signal is answered when the calls of the compiled program are over that are under way, two at
# most, which last about this long.
CALL_SECONDS = 1.0


class Call(NamedTuple):
    """Updates that the devices are at, or have done; their metrics are not fetched yet."""

    measured: Measured
    holdout_loss: jax.Array | None  # of the state after them, where it is due
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

    state: TrainState

    def __init__(
        self,
        train_steps: TrainSteps,
        holdout_loss: HoldoutLoss,
        done: int,
        feed: AnyFeed,
        config: RunConfig,
        hooks: Hooks,
    ):
        """
        Args:
            train_steps: `make_train_steps`; compiled by `begin`.
            holdout_loss: `make_holdout_loss`; compiled where episodes are held out.
            done: updates that the state has behind it.
            hooks: told when a round's metrics are there, and about updates that are left out.
        """
        self.feed, self.config, self.hooks = feed, config, hooks
        self.done = done
        self._train_steps = train_steps
        self._begin, self._end = self.done, self._round_end(self.done)
        self._draw = feed.round(self._begin, self._end)
        self._holdout_loss, self._holdout_draw = holdout_loss, feed.holdout_draw()
        self._pace = 1  # updates a call
        self._sums: Means = {}  # each mean times the updates that it is of
        self._latest: Means = {}
        self._count, self._skipped, self._seconds = 0, 0.0, 0.0
        self._under_way: Call | None = None
        self._settled_at = 0.0

    def begin(self, like: TrainState, first: Callable[[], TrainState]) -> None:
        """Compile the updates, and take over the state that they begin with.

        Args:
            like: the state's shapes, and where they lie.
            first: gives the state. It may take its time while the updates are compiled.
        """
        none = np.int32(0)
        self._train_steps.lower(like, self.feed.steps, self._draw, none, none).compile()
        self.state, _ = self._train_steps(first(), self.feed.steps, self._draw, none, none)

    def run_some(self) -> bool:
        """Run as many as take CALL_SECONDS, to the round's end at most; tell whether it is reached.

        Raises:
            ValueError: for a loss or gradient that is not finite, in these updates or those before,
                naming the update and its batch.
        """
        count = min(self._pace, self._end - self.done)
        begin, clock = self._begin, time.perf_counter()
        self.state, measured = self._train_steps(
            self.state, self.feed.steps, self._draw, np.int32(count), np.int32(self.done - begin)
        )
        self.done += count
        round_ends = self.done == self._end
        holdout_loss = self._measure_holdout() if round_ends else None
        if round_ends and self.done < self.config.num_steps:
            # Drawn, and on its way, while the devices are at work.
            self._begin, self._end = self._end, self._round_end(self._end)
            self._draw = self.feed.round(self._begin, self._end)
        before = self._under_way
        self._under_way = Call(measured, holdout_loss, begin, count, self.done, round_ends, clock)
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
        measured: Measured = jax.tree.map(float, call.measured)
        now = time.perf_counter()
        # The slowest process decides the pace of all.
        seconds = float(largest(now - max(call.clock, self._settled_at)))
        holdout = {} if call.holdout_loss is None else {"holdout_loss": float(call.holdout_loss)}
        self._settled_at = time.perf_counter()
        self._pace = max(1, int(call.updates * CALL_SECONDS / max(seconds, 1e-6)))
        self._add(measured, call.updates, seconds)
        self._latest |= holdout
        if measured.skipped:
            self._answer_damage(measured, call)
        if call.round_ends:
            self._log(call.done)

    def _measure_holdout(self) -> jax.Array | None:
        """Begin to compute the loss of held-out episodes, where a log line is due."""
        due = self.done % self.config.log_interval == 0 or self.done == self.config.num_steps
        if self._holdout_draw is None or not due:
            return None
        # Here, as the next call takes the state's memory for the next state's.
        return self._holdout_loss(self.state.params, self.feed.steps, self._holdout_draw)

    def _log(self, done: int) -> None:
        if not self._count:
            return
        counted = max(1.0, self._count - self._skipped)
        means = {name: total / counted for name, total in self._sums.items()} | self._latest
        means["skipped"] = self._skipped
        means["updates_per_second"] = self._count / self._seconds
        self._sums, self._latest = {}, {}
        self._count, self._skipped, self._seconds = 0, 0.0, 0.0
        self.hooks.on_round(done, means)

    def _add(self, measured: Measured, count: int, seconds: float) -> None:
        counted = count - float(measured.skipped)
        for name, mean in measured.means.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(mean) * counted
        self._latest = {name: float(value) for name, value in measured.latest.items()}
        self._skipped += float(measured.skipped)
        self._count += count
        self._seconds += seconds

    def _answer_damage(self, measured: Measured, call: Call) -> None:
        """Stop, or go on without the update: weights and optimiser are as they were before it."""
        step = call.drawn_at + int(measured.first_skipped)
        damage = measured.damage
        what = (
            f"update {step + 1}: loss {damage['loss']:.4g}, gradient "
            f"{damage['grad_norm']:.4g}; its batch: {self.feed.describe(step)}"
        )
        if self.config.on_nonfinite == "stop":
            raise ValueError(
                f"{what}; nothing is saved since. Lower --optimizer.learning-rate, or leave such "
                f"updates out: --resume --on-nonfinite skip"
            )
        if call.round_ends and self._skipped == self._count:
            raise ValueError(
                f"{what}; none of the last {self._count} updates is finite. Lower "
                f"--optimizer.learning-rate, or look at the data"
            )
        self.hooks.on_message(f"left out {int(measured.skipped)} update(s), the first being {what}")

    def _round_end(self, done: int) -> int:
        """Find where something is due: a log line, a checkpoint, a card, or the run's end."""
        config = self.config
        intervals = (
            config.log_interval,
            config.checkpoint_interval,
            config.card_interval,
        )
        ends = [done + interval - done % interval for interval in intervals if interval]
        return min([*ends, config.num_steps, done + self.feed.updates_per_round])
