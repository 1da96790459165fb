"""Faults of environments: what is raised, hangs or is no number gets a name and a place."""

from __future__ import annotations

import copy
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, TypeAlias, TypeVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from jaxtyping import Bool, Int

from dt.files import first_line
from dt.play.worker import Hung, Worker
from dt.spaces.arrays import Tree

T = TypeVar("T")
Infos: TypeAlias = dict[str, Any]  # as Gymnasium's vector environments give them


# Why a policy's action is none; said of actions on the device too.
BEYOND = "its weights, or what it was shown, are beyond what can be computed with"


class EnvironmentFault(ValueError):
    """An environment broke: its name, row, episode and step, and what happened, in one line."""


class Watched:
    """A vector environment whose faults are told apart, each with its place.

    What an environment raises (SystemExit too), an observation of another shape or a number that
    is not finite, and a call that does not come back in time, all become an `EnvironmentFault`.

    Args:
        timeout: seconds that a step or reset of all rows may take; 0: as long as it likes, in the
            caller's thread. With a limit a thread of its own makes the calls: Python cannot stop
            one that hangs, but it can stop waiting for it.
        first_row: the number of its first row, where others have rows before it.
    """

    def __init__(self, envs: VectorEnv, timeout: float = 0.0, first_row: int = 0):
        self.envs = envs
        self.first_row = first_row
        self.timeout = timeout
        # Which episode a row plays, -1 for none, and how many steps of it; the caller keeps both.
        self.episodes: Int[np.ndarray, " B"] = np.full(envs.num_envs, -1)
        self.steps: Int[np.ndarray, " B"] = np.zeros(envs.num_envs, np.int64)
        self._worker = Worker() if timeout else None

    def reset(self, where: Bool[np.ndarray, " B"], seeds: list[int]) -> Tree:
        """Start the rows of `where` anew, and return the observations of all rows."""
        per_row: Any = seeds  # Gymnasium's base class has one seed, every vector environment many
        # Vector environments that reset themselves know no masks.
        options = None if where.all() else {"reset_mask": where}
        observations, _ = self._call(lambda: self.envs.reset(seed=per_row, options=options))
        self._check(observations, np.zeros(self.envs.num_envs))
        return observations

    def step(self, actions: Tree) -> tuple[Tree, np.ndarray, np.ndarray, np.ndarray, Infos]:
        """Step all rows; observations, rewards, terminated, truncated and infos, as Gymnasium's.

        Raises:
            EnvironmentFault: as `Watched`, and for an action that is not finite or no choice.
        """
        self._check_actions(actions)
        observations, rewards, terminated, truncated, infos = self._call(
            lambda: self.envs.step(actions)
        )
        self._check(observations, rewards)
        return observations, rewards, terminated, truncated, infos

    def with_final(self, observations: Tree, infos: Infos, over: Bool[np.ndarray, " B"]) -> Tree:
        """Copy the observations with the last of each episode that is over, which infos hold."""
        finals, whole = infos.get("final_obs"), copy.deepcopy(observations)
        for row in np.flatnonzero(over):
            final = None if finals is None else finals[row]
            if final is None:
                raise self._fault("ended an episode without final_obs in its infos", int(row))
            _put(whole, int(row), final)
        self._check(whole, np.zeros(self.envs.num_envs))
        return whole

    def close(self) -> None:
        """Stop the thread that made the calls; the environments are their maker's to close."""
        if self._worker is not None:
            self._worker.stop()

    def _call(self, function: Callable[[], T]) -> T:
        try:
            with _quiet() if self._processes else nullcontext():
                return self._worker.call(function, self.timeout) if self._worker else function()
        except Hung as hung:
            self._give_up()
            raise self._fault(
                f"did not come back within {self.timeout:g} seconds", self._running(hung.frames)
            ) from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # one that asks the process to exit would end it unsaid
            row = self._running(frame for frame, _ in traceback.walk_tb(error.__traceback__))
            pipes = getattr(self.envs, "parent_pipes", ())  # None where a row's process raised it
            if pipes and None not in pipes and isinstance(error, EOFError | ConnectionError):
                raise self._ended(row) from error
            for number, pipe in enumerate(pipes):
                row = number if pipe is None else row  # whose process has ended
            what = f"raised {type(error).__name__}: {first_line(error)}"
            if row is None:
                row, what = self._misshapen(what)
            raise self._fault(what, row) from error

    def _give_up(self) -> None:
        """Let nobody close them, not even Gymnasium what is left over: it could hang as well."""
        self.envs.closed = True
        for process in self._processes:
            process.terminate()

    def _ended(self, row: int | None) -> EnvironmentFault:
        """Say which row's process has ended without an answer; it closes its pipe, then ends."""
        for number, process in enumerate(self._processes):
            if number == row:
                process.join(timeout=5.0)
            elif row is None and not process.is_alive():
                row = number
        code = None if row is None else self._processes[row].exitcode
        self._give_up()
        return self._fault(f"its process ended with exit code {code}", row)

    @property
    def _processes(self) -> Sequence[BaseProcess]:
        """Of the rows, where each has one."""
        return getattr(self.envs, "processes", ())

    def _check(self, observations: Tree, rewards: np.ndarray) -> None:
        live = self.episodes >= 0
        bad = live & ~np.isfinite(rewards)
        if bad.any():
            row = int(np.argmax(bad))
            raise self._fault(f"gave the reward {rewards[row]}", row)
        for name, space, part in _parts("", self.envs.observation_space, observations):
            if np.shape(part) != space.shape:
                raise self._fault(
                    f"observations{name} have shape {np.shape(part)}, not {space.shape}"
                )
            if part.dtype.kind != "f":
                continue
            numbers = part.reshape(len(part), -1)
            bad = live & ~np.isfinite(numbers).all(axis=1)
            if bad.any():
                row = int(np.argmax(bad))
                place = int(np.argmin(np.isfinite(numbers[row])))
                raise self._fault(f"observation{name} {place} is {numbers[row, place]}", row)

    def _check_actions(self, actions: Tree) -> None:
        """Refuse what no environment should be given: it might go on as if nothing had been."""
        live = self.episodes >= 0
        for name, space, part in _parts("", self.envs.action_space, actions):
            if not isinstance(part, np.ndarray) or not part.ndim:
                continue
            sound = np.isfinite(part) if part.dtype.kind == "f" else _are_choices(space, part)
            bad = live & ~sound.reshape(len(part), -1).all(axis=1)
            if bad.any():
                row = int(np.argmax(bad))
                raise self._fault(f"the policy's action{name} is {part[row]}; {BEYOND}", row)

    def _running(self, frames: Iterable[FrameType]) -> int | None:
        """Find the row whose environment a call was in; None where rows are no objects."""
        frames = list(frames)
        for frame in frames:  # the answer of which process was being waited for
            if frame.f_locals.get("self") is self.envs and "env_idx" in frame.f_locals:
                return int(frame.f_locals["env_idx"])
        inside = [frame.f_locals.get("self") for frame in frames]
        for row, env in enumerate(getattr(self.envs, "envs", ())):
            if any(one is env for one in inside):
                return row
        return None

    def _misshapen(self, otherwise: str) -> tuple[int | None, str]:
        """Find the row whose observation does not stack with the others; Gymnasium does not say."""
        expected = self.envs.single_observation_space.shape
        for row, observation in enumerate(getattr(self.envs, "_env_obs", ())):
            if expected is None or observation is None:
                continue
            if np.shape(observation) != expected:
                return row, f"observation has shape {np.shape(observation)}, not {expected}"
        return None, otherwise

    def _fault(self, what: str, row: int | None = None) -> EnvironmentFault:
        name = _name(self.envs)
        if row is None:
            return EnvironmentFault(f"{name}, row unknown: {what}")
        place = f"{name}, row {self.first_row + row}"
        if self.episodes[row] < 0:
            return EnvironmentFault(f"{place}, after its last episode: {what}")
        return EnvironmentFault(
            f"{place}, episode {self.episodes[row]}, step {self.steps[row]}: {what}"
        )


@contextmanager
def closing(*groups: VectorEnv) -> Iterator[None]:
    """Close environments in the end.

    Raises:
        EnvironmentFault: where one breaks as it closes. What has broken before is told instead.
    """
    try:
        yield
    except BaseException:
        _close(groups)
        raise
    if faults := _close(groups):
        raise faults[0]


def _close(groups: Iterable[VectorEnv]) -> list[EnvironmentFault]:
    faults = []
    for envs in groups:
        try:
            envs.close()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            envs.closed = True  # else Gymnasium tries again, and nobody hears of it
            what = f"raised {type(error).__name__}: {first_line(error)}"
            faults.append(EnvironmentFault(f"{_name(envs)}, as it closed: {what}"))
    return faults


def _name(envs: VectorEnv) -> str:
    return envs.spec.id if envs.spec else type(envs).__name__


def _parts(
    name: str, space: gymnasium.Space, observations: Tree
) -> Iterator[tuple[str, gymnasium.Space, np.ndarray]]:
    """Yield the arrays of a batch of observations, each with where it stands and its space."""
    if isinstance(space, spaces.Dict):
        for key, inner in space.items():
            yield from _parts(f"{name}[{key!r}]", inner, observations[key])
    elif isinstance(space, spaces.Tuple) and isinstance(observations, tuple):
        for index, inner in enumerate(space):
            yield from _parts(f"{name}[{index}]", inner, observations[index])
    elif isinstance(observations, np.ndarray) or space.shape is not None:
        yield name, space, observations


def _are_choices(space: gymnasium.Space, part: np.ndarray) -> Bool[np.ndarray, "*b"]:
    """Tell which numbers are not below a space's choices, as what stands for none is."""
    if isinstance(space, spaces.MultiDiscrete):
        return part >= space.start
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.integer):
        return part >= space.low
    return np.ones(part.shape, bool)


def _put(batch: Tree, row: int, value: Tree) -> None:
    """Put a row's observation into a batch of them."""
    if isinstance(batch, dict):
        for key, part in batch.items():
            _put(part, row, value[key])
    elif isinstance(batch, tuple):
        for part, inner in zip(batch, value, strict=True):
            _put(part, row, inner)
    else:
        batch[row] = value


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the traces that Gymnasium warns with where a row's process fails; we say it once."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*ERROR")
        yield
