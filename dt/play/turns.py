"""Play environments episode after episode, as one batch whose free rows are refilled."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from jaxtyping import Bool, Float, Int

from dt.play.faults import Watched
from dt.spaces.arrays import Tree
from dt.spaces.records import to_records, to_tree


class Step(NamedTuple):
    """One step of all rows; a row with no episode left has episode -1 and idles along.

    So has a row that resets itself in this step, as some vector environments have it.
    """

    episodes: Int[np.ndarray, " B"]  # which of the episodes asked for each row plays
    observations: np.ndarray  # records, where the space has parts; actions likewise
    actions: np.ndarray
    rewards: Float[np.ndarray, " B"]
    terminated: Bool[np.ndarray, " B"]
    truncated: Bool[np.ndarray, " B"]
    next_observations: np.ndarray  # the last ones of an episode included

    @property
    def live(self) -> Bool[np.ndarray, " B"]:
        return self.episodes >= 0

    @property
    def ended(self) -> Bool[np.ndarray, " B"]:
        """Tell which live rows' episode is over."""
        return self.live & (self.terminated | self.truncated)


class Group(NamedTuple):
    """Rows that step together, and who acts in them."""

    envs: VectorEnv
    start: Callable[[np.ndarray, np.ndarray], None]  # as of `play`
    begin_acting: Callable[[np.ndarray], Callable[[], Tree]]  # observations -> what gives actions


def play(
    envs: VectorEnv,
    seeds: Int[np.ndarray, " n"],
    start: Callable[[np.ndarray, np.ndarray], None],
    act: Callable[[np.ndarray], Tree],
    step_timeout: float = 0.0,
) -> Iterator[Step]:
    """Play exactly one episode for each seed, `envs.num_envs` at a time, and yield every step.

    A row whose episode ends takes the next one from the queue, so short episodes neither leave
    the batch idle nor count more often. The environment of episode i is reset with `seeds[i]`,
    whichever row it runs in.

    Environments that reset themselves (`metadata["autoreset_mode"]` NEXT_STEP or SAME_STEP) play
    the same number of whole episodes, but give no say in how one begins: only the first of each
    row has its own seed. What they return of a reset is never taken for a step of an episode.

    Args:
        start: called with the rows that begin an episode, (B,) Booleans, and the number of each
            row's episode, (B,), before `act` sees its first observation. Under NEXT_STEP also one
            step before, when `act` still sees the last one's end.
        act: observations of all rows -> actions of all rows; of spaces with parts, observations are
            records (see `dt.spaces.records`), actions records or a tree.
        step_timeout: seconds that a step of all rows may take; 0: as long as it likes.

    Raises:
        EnvironmentFault: when an environment raises, hangs or gives what is no observation or
            reward; steps that were yielded before stand.
    """
    group = Group(envs, start, lambda seen: partial(act, seen))
    return (step for _, step in play_in_turns([group], seeds, step_timeout))


def play_in_turns(
    groups: Sequence[Group], seeds: Int[np.ndarray, " n"], step_timeout: float = 0.0
) -> Iterator[tuple[int, Step]]:
    """Play like `play` in several groups of rows, and yield each step with its group's number.

    While the environments of one group step, the actions of the others are computed. Which row of
    which group plays an episode depends on nothing but how long the episodes before it are.
    """
    queue = iter(range(len(seeds)))
    with ExitStack() as stack:
        turns, first_row = [], 0
        for group in groups:
            turn = _turns(group, seeds, queue, step_timeout, first_row)
            turns.append(stack.enter_context(closing(turn)))
            first_row += group.envs.num_envs
        running = {number: turn for number, turn in enumerate(turns) if _begins(turn)}
        while running:
            for number, turn in list(running.items()):
                step = next(turn)
                assert step is not None
                yield number, step
                if not _begins(turn):
                    del running[number]


def _begins(turn: Iterator[Step | None]) -> bool:
    """Tell whether a group has anything left to play; if so, it has begun to act."""
    over = object()
    return next(turn, over) is not over


def _turns(
    group: Group,
    seeds: Int[np.ndarray, " n"],
    queue: Iterator[int],
    step_timeout: float,
    first_row: int,
) -> Generator[Step | None, None, None]:
    """Yield a group's steps, before each of them None: it has begun to act, and others may step."""
    envs, num_envs = group.envs, group.envs.num_envs
    mode = autoreset_mode(envs)
    watched = Watched(envs, step_timeout, first_row)
    playing = watched.episodes
    for row, episode in zip(range(num_envs), queue, strict=False):
        playing[row] = episode
    starting = np.ones(num_envs, bool)
    resetting = np.zeros(num_envs, bool)  # rows whose next step is their reset
    observations: Tree = None
    seen = np.empty(0)  # the same as an array, or records
    space = envs.single_observation_space
    try:
        while (playing >= 0).any():
            if starting.any():
                episodes = np.maximum(playing, 0)
                watched.steps[starting] = 0
                if observations is None or mode is AutoresetMode.DISABLED:
                    observations = watched.reset(starting, seeds[episodes].tolist())
                    seen = to_records(space, observations)
                group.start(starting, episodes)
            wait = group.begin_acting(seen)
            yield None
            actions = to_records(envs.single_action_space, wait())
            taken = to_tree(envs.single_action_space, actions)
            observations, rewards, terminated, truncated, infos = watched.step(taken)
            over = (terminated | truncated) & ~resetting
            before, seen = seen, to_records(space, observations)
            after = seen
            if mode is AutoresetMode.SAME_STEP and over.any():
                after = to_records(space, watched.with_final(observations, infos, over))
            numbers = np.where(resetting, -1, playing)
            yield Step(numbers, before, actions, rewards, terminated, truncated, after)
            watched.steps += 1
            for row in np.flatnonzero(over).tolist():
                playing[row] = next(queue, -1)
            starting = over | resetting
            if mode is AutoresetMode.NEXT_STEP:
                resetting = over
    finally:
        watched.close()


def autoreset_mode(envs: VectorEnv) -> AutoresetMode:
    """Tell how rows begin again; vector environments that do not say follow Gymnasium's default."""
    mode = envs.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
    try:
        return AutoresetMode(mode)
    except ValueError:
        raise ValueError(
            f"the environments' metadata names the autoreset_mode {mode!r}; it must be one of "
            f"{', '.join(one.value for one in AutoresetMode)}"
        ) from None
