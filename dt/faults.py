"""How can an environment break, and where? Every fault has a name and a place."""

from __future__ import annotations

import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from jaxtyping import Bool, Int

from dt.data.spaces import first_line


class EnvironmentFault(ValueError):
    """One line: the environment, its row, the episode and step it was at, and what happened."""


class Watched:
    """A vector environment whose faults are told apart, each with its place.

    What an environment raises, an observation of another shape or a number that is not finite, and
    a call that does not come back in time, all become an `EnvironmentFault`.

    Args:
        timeout: seconds that a step or reset of all rows may take; 0: as long as it likes, in the
            caller's thread. With a limit a thread of its own makes the calls: Python cannot stop
            one that hangs, but it can stop waiting for it.
    """

    def __init__(self, envs: VectorEnv, timeout: float = 0.0):
        self.envs = envs
        self.timeout = timeout
        # Which episode a row plays, -1 for none, and how many steps of it; the caller keeps both.
        self.episodes: Int[np.ndarray, " B"] = np.full(envs.num_envs, -1)
        self.steps: Int[np.ndarray, " B"] = np.zeros(envs.num_envs, np.int64)
        self._worker = _Worker() if timeout else None

    def reset(self, where: Bool[np.ndarray, " B"], seeds: Any) -> np.ndarray:
        """The observations of all rows, those of `where` started anew."""
        options = {"reset_mask": where}
        observations, _ = self._call(lambda: self.envs.reset(seed=seeds, options=options))
        self._check(observations, np.zeros(self.envs.num_envs))
        return observations

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Observations, rewards, terminated and truncated of all rows."""
        observations, rewards, terminated, truncated, _ = self._call(
            lambda: self.envs.step(actions)
        )
        self._check(observations, rewards)
        return observations, rewards, terminated, truncated

    def close(self) -> None:
        if self._worker is not None:
            self._worker.stop()

    def _call(self, function: Callable[[], Any]) -> Any:
        try:
            return self._worker.call(function, self.timeout) if self._worker else function()
        except _Hung as hung:
            # Closing it could hang as well, and so could Gymnasium, which closes what is left over.
            self.envs.closed = True
            raise self._fault(
                f"did not come back within {self.timeout:g} seconds", self._running(hung.frames)
            ) from None
        except Exception as error:
            row = self._running(frame for frame, _ in traceback.walk_tb(error.__traceback__))
            what = f"raised {type(error).__name__}: {first_line(error)}"
            if row is None:
                row, what = self._misshapen(what)
            raise self._fault(what, row) from error

    def _check(self, observations: np.ndarray, rewards: np.ndarray) -> None:
        expected = self.envs.observation_space.shape
        if np.shape(observations) != expected:
            raise self._fault(f"observations have shape {np.shape(observations)}, not {expected}")
        live = self.episodes >= 0
        bad = live & ~np.isfinite(rewards)
        if bad.any():
            row = int(np.argmax(bad))
            raise self._fault(f"gave the reward {rewards[row]}", row)
        if observations.dtype.kind == "f":
            numbers = observations.reshape(len(observations), -1)
            bad = live & ~np.isfinite(numbers).all(axis=1)
            if bad.any():
                row = int(np.argmax(bad))
                place = int(np.argmin(np.isfinite(numbers[row])))
                raise self._fault(f"observation {place} is {numbers[row, place]}", row)

    def _running(self, frames: Iterable[FrameType]) -> int | None:
        """Which row's environment a call was in; None when the rows are not objects of their own"""
        inside = [frame.f_locals.get("self") for frame in frames]
        for row, env in enumerate(getattr(self.envs, "envs", ())):
            if any(one is env for one in inside):
                return row
        return None

    def _misshapen(self, otherwise: str) -> tuple[int | None, str]:
        """Gymnasium stacks the rows' observations, and only says that they do not stack."""
        expected = self.envs.single_observation_space.shape
        for row, observation in enumerate(getattr(self.envs, "_env_obs", ())):
            if observation is not None and np.shape(observation) != expected:
                return row, f"observation has shape {np.shape(observation)}, not {expected}"
        return None, otherwise

    def _fault(self, what: str, row: int | None = None) -> EnvironmentFault:
        name = self.envs.spec.id if self.envs.spec else type(self.envs).__name__
        if row is None:
            return EnvironmentFault(f"{name}, row unknown: {what}")
        if self.episodes[row] < 0:
            return EnvironmentFault(f"{name}, row {row}, after its last episode: {what}")
        return EnvironmentFault(
            f"{name}, row {row}, episode {self.episodes[row]}, step {self.steps[row]}: {what}"
        )


class _Hung(Exception):
    def __init__(self, frames: list[FrameType]):
        self.frames = frames


class _Worker:
    """A thread that makes calls for another one; it may be left behind in a call that hangs."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], Any], timeout: float) -> Any:
        self._calls.put(function)
        try:
            done, value = self._outcomes.get(timeout=timeout)
        except queue.Empty:
            assert self._thread.ident is not None
            frame = sys._current_frames().get(self._thread.ident)
            raise _Hung([one for one, _ in traceback.walk_stack(frame)] if frame else []) from None
        if done:
            return value
        raise value

    def stop(self) -> None:
        self._calls.put(None)

    def _run(self) -> None:
        while (function := self._calls.get()) is not None:
            try:
                self._outcomes.put((True, function()))
            except Exception as error:
                self._outcomes.put((False, error))
