"""Do Atari's rows play the episode that a seed decides, as small frames and as screens?"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from dt.play.make import make_envs
from dt.play.turns import play
from dt.spaces.environments import environment_spaces

pytest.importorskip("ale_py")
import envs  # noqa: E402, F401 (registers the games)
from envs.atari import AtariRows  # noqa: E402

PONG: dict[str, Any] = {"num_threads": 1, "max_episode_steps": 12}


def episodes(num_envs: int, seeds: list[int], **kwargs: Any) -> list[list[np.ndarray]]:
    """What is seen at every step, the end included; actions depend on it alone."""
    rows = make_envs("ALE/Pong-v5", num_envs, {**PONG, **kwargs})
    assert isinstance(rows, AtariRows)
    seen: list[list[np.ndarray]] = [[] for _ in seeds]

    def act(observations: np.ndarray) -> np.ndarray:
        return observations[:, -1].reshape(num_envs, -1).sum(axis=1, dtype=np.int64) % 6

    for step in play(rows, np.array(seeds), lambda *_: None, act):
        for row in np.flatnonzero(step.live):
            seen[step.episodes[row]].append(step.observations[row].copy())
            if step.ended[row]:
                seen[step.episodes[row]].append(step.next_observations[row].copy())
    rows.close()
    return seen


def test_an_episode_depends_on_its_seed_alone_not_on_its_row() -> None:
    """Sticky actions and the empty steps at the start are drawn from it as well."""
    alone, together = (episodes(n, [3, 4, 5, 3]) for n in (1, 3))
    assert [len(episode) for episode in alone] == [13] * 4
    np.testing.assert_array_equal(alone, together)
    np.testing.assert_array_equal(alone[0], alone[3])
    assert (np.stack(alone[0]) != alone[1]).any()


def test_observations_are_the_last_four_frames_newest_last() -> None:
    (episode,) = episodes(1, [0], repeat_action_probability=0.0)
    assert episode[0].shape == (4, 84, 84) and episode[0].dtype == np.uint8
    for before, after in zip(episode[:-1], episode[1:], strict=True):
        np.testing.assert_array_equal(after[:3], before[1:])


def test_screens_are_those_of_the_same_game() -> None:
    """The newest grey frame is the brighter of two frames; the last of them is the screen."""
    rows = make_envs("ALE/Pong-v5", 2, {**PONG, "maxpool": False, "render_mode": "rgb_array"})
    observations, _ = rows.reset(seed=[1, 2])
    for _ in range(5):
        observations = rows.step(np.array([2, 3]))[0]
        for screen, stack in zip(rows.render() or (), observations, strict=True):
            assert screen.shape == (210, 160, 3) and screen.dtype == np.uint8
            grey = screen @ np.array([0.299, 0.587, 0.114])
            # Five rows of the screen are two of the frame, whose pixels weigh the parts they hold.
            tall = np.repeat(np.repeat(grey, 2, axis=0), 21, axis=1)
            small = tall.reshape(84, 5, 84, 40).mean(axis=(1, 3))
            assert np.abs(small - stack[-1]).max() < 2.0
    rows.close()


def test_rows_that_end_wait_for_their_reset() -> None:
    rows = make_envs("ALE/Pong-v5", 2, PONG)
    rows.reset(seed=0)
    for _ in range(12):
        *_, truncated, _ = rows.step(np.zeros(2, np.int64))
    assert truncated.all()
    with pytest.raises(ResetNeeded, match=r"rows \[0, 1\] have ended"):
        rows.step(np.zeros(2, np.int64))
    rows.close()


def test_other_modes_are_ale_s_own() -> None:
    rows = gymnasium.make_vec("ALE/Pong-v5", 1, "vector_entry_point", max_num_frames_per_episode=40)
    assert rows.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    steps = list(play(rows, np.arange(3), lambda *_: None, lambda o: np.zeros(1, np.int64)))
    assert sum(int(step.ended[0]) for step in steps) == 3
    assert [int(step.episodes[0]) for step in steps if step.ended[0]] == [0, 1, 2]
    rows.close()


def test_who_asks_for_screens_gets_the_game_as_gymnasium_makes_it() -> None:
    assert environment_spaces("ALE/Pong-v5")[0].shape == (4, 84, 84)
    asked = {"obs_type": "rgb"}
    assert environment_spaces("ALE/Pong-v5", asked)[0].shape == (210, 160, 3)
    rows = make_envs("ALE/Pong-v5", 1, asked)
    assert rows.single_observation_space.shape == (210, 160, 3)
    rows.close()


def test_rewards_are_the_game_s_and_not_clipped() -> None:
    kwargs = {"num_threads": 1, "repeat_action_probability": 0.0}
    rows = make_envs("ALE/Boxing-v5", 8, kwargs)
    rows.reset(seed=0)
    rng = np.random.default_rng(0)
    rewards = np.array([rows.step(rng.integers(18, size=8))[1] for _ in range(120)])
    rows.close()
    assert np.abs(rewards).max() > 1
