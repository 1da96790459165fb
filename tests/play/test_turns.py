"""Do vector environments that reset themselves, in whatever mode, play exactly whole episodes?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from dt.play.faults import EnvironmentFault, closing
from dt.play.make import make_envs
from dt.play.turns import Group, play, play_in_turns

LENGTHS = (3, 1, 5, 2, 4, 1, 2)


class Counter(gymnasium.Env):
    """Its k-th episode has LENGTHS[k mod 7] steps; observes the episode and the step in it.

    The reward of a step is its number, so that a step too many or too few shows.
    """

    observation_space: spaces.Space = spaces.Box(0, 99, (2,), np.float32)
    action_space = spaces.Discrete(2)
    episode, stopped = -1, True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode = self.episode + 1 if seed is None else seed
        self.clock, self.stopped = 0, False
        return self._seen(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert not self.stopped, "stepped after its end"
        self.clock += 1
        self.stopped = self.clock == LENGTHS[self.episode % 7]
        late = self.episode % 2 == 1  # every other episode ends by truncation
        ends = (self.stopped and not late, self.stopped and late)
        return self._seen(), float(self.clock), *ends, {"clock": self.clock}

    def _seen(self) -> Any:
        return np.array([self.episode, self.clock], np.float32)


class Named(Counter):
    observation_space = spaces.Dict(
        {"episode": spaces.Discrete(99), "both": spaces.Tuple([Counter.observation_space])}
    )

    def _seen(self) -> Any:
        return {"episode": self.episode, "both": (super()._seen(),)}


def played(envs: VectorEnv, num_episodes: int) -> list[list[tuple[Any, float, Any]]]:
    """(observation, reward, next observation) of every step of each episode."""
    episodes: list[list[tuple[Any, float, Any]]] = [[] for _ in range(num_episodes)]
    begun: dict[int, int] = {}
    ends = np.zeros(num_episodes, int)

    def start(where: np.ndarray, numbers: np.ndarray) -> None:
        for row in np.flatnonzero(where):
            begun[int(row)] = int(numbers[row])

    def act(observations: Any) -> np.ndarray:
        return np.zeros(envs.num_envs, np.int64)

    for step in play(envs, np.arange(num_episodes), start, act):
        for row in np.flatnonzero(step.live):
            number = int(step.episodes[row])
            assert begun[int(row)] == number, "acted before it was told of the episode"
            assert not ends[number], "a step after the episode's end"
            now, after = (_row(o, int(row)) for o in (step.observations, step.next_observations))
            episodes[number].append((now, float(step.rewards[row]), after))
            ends[number] += step.ended[row]
    assert (ends == 1).all()
    envs.close()
    return episodes


def _row(observations: Any, row: int) -> tuple[int, int]:
    if observations.dtype.names:  # records
        assert observations["episode"][row] == observations["both"]["0"][row][0]
        observations = observations["both"]["0"]
    return tuple(observations[row].astype(int).tolist())


def whole(episode: int) -> list[tuple[Any, float, Any]]:
    """What the environment's episode of this number is."""
    length = LENGTHS[episode % 7]
    return [((episode, t), t + 1.0, (episode, t + 1)) for t in range(length)]


@pytest.mark.parametrize("env", [Counter, Named])
@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("num_envs", [1, 3, 9])
def test_every_mode_plays_whole_episodes_and_as_many_as_asked(
    env: type[Counter], mode: AutoresetMode, num_envs: int
) -> None:
    envs = SyncVectorEnv([env] * num_envs, autoreset_mode=mode)
    episodes = played(envs, 7)
    firsts = [episode[0][0][0] for episode in episodes]
    assert episodes == [whole(first) for first in firsts]
    assert firsts[:num_envs] == list(range(7))[:num_envs]
    if mode is AutoresetMode.DISABLED:  # every episode has its own seed, in whatever row
        assert firsts == list(range(7))


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_rows_that_reset_themselves_play_on_from_their_own_first_seed(mode: AutoresetMode) -> None:
    """One row: its generator goes on, which is all that these modes allow."""
    episodes = played(SyncVectorEnv([Counter], autoreset_mode=mode), 7)
    assert [episode[0][0][0] for episode in episodes] == list(range(7))


class Turns:
    """Groups of rows that play in turns, and in which order they begin to act and step."""

    def __init__(self, env: type[Counter], sizes: tuple[int, ...], mode: AutoresetMode):
        self.events: list[tuple[str, int]] = []
        self.envs = [SyncVectorEnv([env] * size, autoreset_mode=mode) for size in sizes]

    def play(self, num_episodes: int) -> list[list[tuple[Any, float, Any]]]:
        episodes: list[list[tuple[Any, float, Any]]] = [[] for _ in range(num_episodes)]
        groups = [self._group(number, envs) for number, envs in enumerate(self.envs)]
        for number, step in play_in_turns(groups, np.arange(num_episodes)):
            self.events.append(("steps", number))
            for row in np.flatnonzero(step.live):
                now, after = (_row(o, row) for o in (step.observations, step.next_observations))
                episodes[step.episodes[row]].append((now, float(step.rewards[row]), after))
        return episodes

    def _group(self, number: int, envs: VectorEnv) -> Group:
        def begin_acting(observations: Any) -> Callable[[], np.ndarray]:
            self.events.append(("acts", number))
            return lambda: np.zeros(envs.num_envs, np.int64)

        return Group(envs, lambda *_: None, begin_acting)


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("sizes", [(1, 2), (3, 3), (2, 3, 1), (5, 5), (9, 9)])
def test_groups_in_turns_play_whole_episodes_and_as_many_as_asked(
    mode: AutoresetMode, sizes: tuple[int, ...]
) -> None:
    turns = Turns(Counter, sizes, mode)
    episodes = turns.play(7)
    assert episodes == [whole(episode[0][0][0]) for episode in episodes]
    if mode is AutoresetMode.DISABLED:
        assert [episode[0][0][0] for episode in episodes] == list(range(7))


def test_while_one_group_steps_the_others_actions_are_under_way() -> None:
    turns = Turns(Counter, (2, 2), AutoresetMode.DISABLED)
    turns.play(4)  # of 3, 1, 5 and 2 steps: the first group's last is its third
    both = [("steps", 0), ("acts", 0), ("steps", 1), ("acts", 1)]
    assert turns.events[:10] == [("acts", 0), ("acts", 1), *both, *both]
    assert turns.events[10:13] == [("steps", 0), ("steps", 1), ("acts", 1)]
    assert turns.events[13:] == [("steps", 1), ("acts", 1), ("steps", 1)]


def test_a_fault_in_a_later_group_counts_the_rows_of_those_before() -> None:
    turns = Turns(Breaking, (2, 2), AutoresetMode.DISABLED)
    with pytest.raises(EnvironmentFault, match="row 2, episode 2, step 1: raised ZeroDivision"):
        turns.play(4)
    assert turns.events[-1] == ("acts", 0)  # and it is still the first's turn to step


def test_a_mode_that_does_not_exist_and_a_missing_last_observation_are_named() -> None:
    envs = SyncVectorEnv([Counter], autoreset_mode=AutoresetMode.SAME_STEP)
    envs.metadata["autoreset_mode"] = "Never"
    with pytest.raises(ValueError, match="autoreset_mode 'Never'; it must be one of NextStep"):
        played(envs, 1)
    envs = SyncVectorEnv([Counter], autoreset_mode=AutoresetMode.NEXT_STEP)
    envs.metadata["autoreset_mode"] = AutoresetMode.SAME_STEP  # which it is not
    with pytest.raises(EnvironmentFault, match="row 0, episode 0, step 2: ended .* final_obs"):
        played(envs, 2)


def test_processes_play_what_one_process_plays() -> None:
    """By forkserver: JAX has threads by now, which a fork would leave half alive."""
    envs = make_envs("CartPole-v1", 2, {"max_episode_steps": 12}, vectorization="async")
    assert isinstance(envs, AsyncVectorEnv) and envs.context == "forkserver"
    apart = _returns(envs, 5)
    together = _returns(make_envs("CartPole-v1", 3, {"max_episode_steps": 12}, "sync"), 5)
    np.testing.assert_array_equal(apart, together)


class Breaking(Counter):
    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.episode == 2 and self.clock == 1:
            raise ZeroDivisionError("division by zero")
        return super().step(action)


def test_a_fault_in_another_process_has_its_place_too() -> None:
    envs = AsyncVectorEnv(
        [Breaking] * 3, context="forkserver", autoreset_mode=AutoresetMode.DISABLED
    )
    with pytest.raises(
        EnvironmentFault, match="row 2, episode 2, step 1: raised ZeroDivisionError: division"
    ):
        played(envs, 3)
    envs.close(terminate=True)


class Leaving(Counter):
    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.episode == 2 and self.clock == 1:
            raise SystemExit(3)
        return super().step(action)


def test_a_process_that_ends_is_named_with_its_exit_code() -> None:
    envs = AsyncVectorEnv(
        [Leaving] * 3, context="forkserver", autoreset_mode=AutoresetMode.DISABLED
    )
    with pytest.raises(
        EnvironmentFault, match="row 2, episode 2, step 1: its process ended with exit code 3"
    ):
        with closing(envs):
            played(envs, 3)
    for process in envs.processes:  # those that played on were told to end
        process.join(10)
        assert not process.is_alive()


def _returns(envs: VectorEnv, num_episodes: int) -> np.ndarray:
    """Of a rule that reads the observations, which are therefore compared as well."""
    returns = np.zeros((num_episodes, 2))
    seeds = np.arange(num_episodes) * 7
    for step in play(envs, seeds, lambda *_: None, lambda o: (o[:, 2] > 0).astype(np.int64)):
        for row in np.flatnonzero(step.live):
            returns[step.episodes[row]] += step.rewards[row], step.next_observations[row].sum()
    envs.close()
    return returns
