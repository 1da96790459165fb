"""Is a log that is read anew in each pass the same data set every time, and checked in passing?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from random_logs import assert_same, assert_same_steps, described_logs

from dt.data import Episode, EpisodeDataset, Reference
from dt.data.checks import unchecked_values
from dt.data.streams import EpisodeStream, cut_ends, pieces


def make_episode(length: int, **changes: Any) -> Episode:
    last = np.arange(length) == length - 1
    episode = Episode(
        observations=np.full((length, 2), length, np.float32),
        actions=np.arange(length) % 3,
        rewards=np.ones(length, np.float32),
        terminations=last,
        truncations=np.zeros(length, bool),
    )
    return replace(episode, **changes)


def make_stream(*episodes: Episode, **changes: Any) -> EpisodeStream:
    options: dict[str, Any] = {
        "name": "log",
        "observation_space": spaces.Box(-np.inf, np.inf, (2,), np.float32),
        "action_space": spaces.Discrete(3),
        "episodes": lambda: iter(episodes),
    }
    return EpisodeStream(**{**options, **changes})


@settings(deadline=None, max_examples=25)
@given(described_logs(), st.integers(1, 300))
def test_a_stream_is_the_data_set_of_its_episodes(log: dict[str, Any], num_bytes: int) -> None:
    expected = EpisodeDataset.from_episodes(**log)
    kept = log.pop("episodes")
    stream = EpisodeStream(**log, episodes=lambda: iter(kept))
    assert_same(stream.load(), expected)
    assert_same_steps(stream, kept)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dt.data.streams.PIECE_BYTES", num_bytes)
        parts = list(pieces(stream))
    assert_same_steps(EpisodeDataset.from_episodes("parts", _all(parts), **_spaces(log)), kept)
    firsts = np.cumsum([0, *(len(part) for part in parts)])[:-1]
    assert [part.first_episode for part in parts] == firsts.tolist()


def _all(parts: list[EpisodeDataset]) -> list[Episode]:
    return [episode for part in parts for episode in part]


def _spaces(log: dict[str, Any]) -> dict[str, Any]:
    return {name: log[name] for name in ("observation_space", "action_space")}


def test_a_data_set_in_memory_is_one_piece() -> None:
    dataset = make_stream(make_episode(3)).load()
    assert list(pieces(dataset)) == [dataset]


def test_one_pass_reads_no_further_than_it_is_asked_to() -> None:
    begun = []

    def episodes() -> Iterator[Episode]:
        for number in range(5):
            begun.append(number)
            yield make_episode(2)

    stream = make_stream(episodes=episodes)
    next(iter(stream))
    assert begun == [0]


def test_what_the_log_says_about_itself_is_kept() -> None:
    about: dict[str, Any] = {
        "env_id": "Elsewhere-v0",
        "env_kwargs": {"max_episode_steps": 7},
        "reference": Reference("ours", 0.0, 1.0),
        "spaces_inferred": True,
        "notes": ("left out",),
    }
    dataset = make_stream(make_episode(2), **about).load()
    assert {name: getattr(dataset, name) for name in about} == about


BAD = {
    "rewards at episode 1, step 2 is not finite": {"rewards": np.array([0.0, 1.0, np.inf])},
    "observations at episode 1, step 0 is not finite": {
        "observations": np.array([[np.nan, 0.0], [0.0, 0.0], [0.0, 0.0]])
    },
    "actions at episode 1, step 1 is 3, outside": {"actions": np.array([0, 3, 9])},
    "actions are float64, but the space is": {"actions": np.zeros(3)},
    "episode 1 has 4 actions for 3 rewards": {"actions": np.zeros(4, np.int64)},
    "episode 1 has 2 observations for 3 rewards": {"observations": np.zeros((2, 2))},
    r"episode 1 has observations of shape \(5,\) a step": {"observations": np.zeros((3, 5))},
    "rewards are object; give numbers": {"rewards": np.array([1, None, 2])},
}


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_right_is_refused_when_it_is_reached(message: str) -> None:
    bad = make_episode(3, **BAD[message])
    stream = make_stream(make_episode(2), bad, make_episode(4))
    passed = iter(stream)
    next(passed)
    with pytest.raises(ValueError, match=f"log: {message}"):
        next(passed)


def test_an_episode_without_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match="log: episode 1 has 0 steps; remove it"):
        list(make_stream(make_episode(2), make_episode(0)))


def test_a_stream_without_an_episode_is_refused() -> None:
    with pytest.raises(ValueError, match="log: holds no episode"):
        list(make_stream())


def test_the_card_may_look_at_what_is_not_finite() -> None:
    stream = make_stream(make_episode(3, rewards=np.array([0.0, np.nan, 1.0])))
    with unchecked_values():
        assert len(list(stream)) == 1


def test_an_end_that_is_not_marked_is_a_truncation() -> None:
    ends = np.array([False, True, False, False, False]), np.array([True, False, False, False, True])
    terminations, truncations = cut_ends(*ends, np.array([0, 2, 4, 5]))
    assert terminations.tolist() == [False, True, False, False, False]
    assert truncations.tolist() == [True, False, False, True, True]
    assert ends[1].tolist() == [True, False, False, False, True]  # the log's own are not touched
