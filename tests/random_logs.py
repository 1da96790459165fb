"""Random logs for property tests of the file formats, and when two of them are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from hypothesis import strategies as st

from dt.data import Episode, EpisodeDataset, Reference
from dt.data.streams import EpisodeStream

FLOATS = st.sampled_from([np.float32, np.float64])


@st.composite
def episodes(
    draw: st.DrawFn,
    *,
    discrete: bool | None = None,
    finals: bool | None = None,
    max_episodes: int = 4,
    max_length: int = 5,
) -> list[Episode]:
    """Episodes that end, all of one kind: types, sizes and sorts of actions vary between draws.

    Args:
        finals: whether observations after the last actions were logged; None draws it.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(1, max_length), min_size=1, max_size=max_episodes))
    observation_type, action_type, reward_type = draw(FLOATS), draw(FLOATS), draw(FLOATS)
    is_discrete = draw(st.booleans()) if discrete is None else discrete
    extra = draw(st.booleans()) if finals is None else finals
    magnitude = 10.0 ** draw(st.integers(-30, 30))
    width = draw(st.integers(1, 3))
    made = []
    for length in lengths:
        last = np.arange(length) == length - 1
        if is_discrete:
            actions = rng.integers(0, 5, length)
        else:
            actions = rng.normal(size=(length, 2)).astype(action_type)
        observations = rng.normal(size=(length + extra, width)) * magnitude
        ends = draw(st.sampled_from([(True, False), (False, True), (True, True)]))
        made.append(
            Episode(
                observations=observations.astype(observation_type),
                actions=actions,
                rewards=rng.normal(size=length).astype(reward_type),
                terminations=last & ends[0],
                truncations=last & ends[1],
            )
        )
    return made


@st.composite
def described_logs(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of `EpisodeDataset.from_episodes`, with all that a file may have to say.

    Not the data set itself: checking its types draws random numbers of Python's, which Hypothesis
    does not allow here.
    """
    made = draw(episodes())
    box = spaces.Box(-np.inf, np.inf, made[0].observations.shape[1:], made[0].observations.dtype)
    action_space: spaces.Space = spaces.Discrete(5)
    if made[0].actions.ndim == 2:
        dtype = made[0].actions.dtype
        high = np.array([9.0, np.inf], dtype)
        action_space = spaces.Box(np.full(2, -9.5, dtype), high, (2,), dtype)
    elif draw(st.booleans()):
        action_space = spaces.Discrete(7, start=-1, dtype=np.int32)
    kwargs: dict[str, Any] = draw(
        st.sampled_from([{}, {"max_episode_steps": 7}, {"sizes": [1, 2.5], "word": "ä"}])
    )
    return {
        "name": "drawn",
        "episodes": made,
        "observation_space": box,
        "action_space": action_space,
        "env_id": draw(st.sampled_from([None, "Elsewhere-v0", "module:Elsewhere-v0"])),
        "env_kwargs": kwargs,
        "reference": draw(st.sampled_from([None, Reference("of ours", -1.5, 1e9 / 7)])),
    }


def assert_same_steps(found: EpisodeDataset | EpisodeStream, expected: list[Episode]) -> None:
    """Episode by episode, values and types."""
    kept = list(found)
    assert len(kept) == len(expected)
    for one, other in zip(kept, expected, strict=True):
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).dtype == getattr(other, name).dtype, name


def assert_same(found: EpisodeDataset, expected: EpisodeDataset) -> None:
    """All that a conversion must keep."""
    assert_same_steps(found, list(expected))
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    names = ("observation_space", "action_space", "env_id", "env_kwargs", "reference")
    for name in names:
        assert getattr(found, name) == getattr(expected, name), name
