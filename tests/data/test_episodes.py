"""Are episodes stored as they were logged, and is data that cannot be right refused by name?"""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from dt.data import Episode, EpisodeDataset, returns_to_go

PLANE = spaces.Box(-np.inf, np.inf, (2,), np.float32)
LEVER = spaces.Box(-1.0, 1.0, (1,), np.float32)


def make_episode(num_steps: int, first: float = 0.0, extra: int = 0) -> Episode:
    """Observations count up from `first`, so that a row tells where it came from."""
    rows = np.arange(first, first + num_steps + extra, dtype=np.float32)
    return Episode(
        observations=np.stack([rows, -rows], axis=1),
        actions=np.full((num_steps, 1), 0.5, np.float32),
        rewards=np.ones(num_steps, np.float32),
        terminations=np.arange(num_steps) == num_steps - 1,
        truncations=np.zeros(num_steps, bool),
    )


def make_dataset(*episodes: Episode, **changes: object) -> EpisodeDataset:
    """Two episodes of 3 and 2 steps unless told otherwise."""
    spaces_ = {"observation_space": PLANE, "action_space": LEVER}
    kept = episodes or (make_episode(3), make_episode(2, first=10.0))
    return EpisodeDataset.from_episodes("logged", kept, **{**spaces_, **changes})


def test_returns_to_go_of_three_steps_by_hand() -> None:
    rewards = np.array([1.0, 2.0, 4.0], np.float32)
    assert returns_to_go(rewards, np.array([0, 3])).tolist() == [7.0, 6.0, 4.0]


def test_returns_to_go_start_anew_in_each_episode() -> None:
    rewards = np.array([1.0, 2.0, 4.0, 8.0, 16.0], np.float32)
    assert returns_to_go(rewards, np.array([0, 2, 5])).tolist() == [3.0, 2.0, 28.0, 24.0, 16.0]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=6), min_size=1, max_size=5
    )
)
def test_returns_to_go_equal_a_plain_loop(episodes: list[list[float]]) -> None:
    rewards = np.array([r for episode in episodes for r in episode], np.float32)
    offsets = np.cumsum([0, *map(len, episodes)])
    by_hand = [sum(episode[t:]) for episode in episodes for t in range(len(episode))]
    np.testing.assert_allclose(returns_to_go(rewards, offsets), by_hand, rtol=1e-6, atol=1e-4)


def test_a_long_log_behind_an_episode_does_not_blur_its_returns_to_go() -> None:
    rewards = np.full(200_000, 0.1, np.float32)
    early = returns_to_go(rewards, np.array([0, 2, 200_000]))[:2]
    np.testing.assert_allclose(early, [0.2, 0.1], rtol=1e-6)


def test_episodes_come_back_as_they_went_in() -> None:
    episodes = [make_episode(3), make_episode(2, first=10.0), make_episode(1, first=20.0)]
    dataset = make_dataset(*episodes)
    assert (len(dataset), dataset.num_steps) == (3, 6)
    assert dataset.lengths.tolist() == [3, 2, 1]
    for given_episode, kept in zip(episodes, dataset, strict=True):
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            np.testing.assert_array_equal(getattr(kept, name), getattr(given_episode, name))


def test_the_observation_after_the_last_action_is_kept_apart() -> None:
    dataset = make_dataset(make_episode(3, extra=1), make_episode(2, first=10.0, extra=1))
    assert dataset.observations[:, 0].tolist() == [0.0, 1.0, 2.0, 10.0, 11.0]
    assert dataset.final_observations is not None
    assert dataset.final_observations[:, 0].tolist() == [3.0, 12.0]
    assert [e.observations[-1, 0] for e in dataset] == [3.0, 12.0]


def test_last_observations_are_kept_of_all_episodes_or_of_none() -> None:
    dataset = make_dataset(make_episode(3, extra=1), make_episode(2, first=10.0))
    assert dataset.final_observations is None
    assert [len(e.observations) for e in dataset] == [3, 2]


def test_last_observations_go_with_the_episodes_that_are_selected() -> None:
    episodes = [make_episode(2, first=10.0 * e, extra=1) for e in range(4)]
    chosen = make_dataset(*episodes).select(np.array([3, 1]))
    assert [e.observations[-1, 0] for e in chosen] == [32.0, 12.0]


def test_a_last_observation_is_checked_like_the_others() -> None:
    dataset = make_dataset(make_episode(3, extra=1), make_episode(2, first=10.0, extra=1))
    assert dataset.final_observations is not None
    finals = dataset.final_observations.copy()
    finals[1, 0] = np.nan
    with pytest.raises(ValueError, match="observations at episode 1, step 2 is not finite"):
        replace(dataset, final_observations=finals)
    with pytest.raises(ValueError, match="final_observations has 1 rows for 2 episodes"):
        replace(dataset, final_observations=dataset.final_observations[:1])
    with pytest.raises(ValueError, match=r"observations have shape \(1,\) a step"):
        replace(dataset, final_observations=dataset.final_observations[:, :1])


def test_episodes_of_two_shapes_are_refused_by_number() -> None:
    other = replace(make_episode(2), observations=np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"episode 1 has observations of shape \(3,\) a step"):
        make_dataset(make_episode(3), other)


@pytest.mark.parametrize("name", ["observations", "actions", "rewards"])
def test_words_are_no_numbers(name: str) -> None:
    words = np.full(getattr(make_dataset(), name).shape, "word")
    with pytest.raises(ValueError, match=f"logged: {name} are <U4; give numbers"):
        replace(make_dataset(), **{name: words})


def test_sums_that_overflow_do_not_make_finite_numbers_infinite() -> None:
    rewards = np.full(5, 1e308)
    assert replace(make_dataset(), rewards=rewards).rewards.tolist() == rewards.tolist()


def test_the_checks_copy_no_array() -> None:
    dataset = make_dataset(make_episode(100_000))
    actions = np.zeros(100_000, np.int64)
    tracemalloc.start()
    replace(dataset, actions=actions, action_space=spaces.Discrete(3))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < dataset.observations.nbytes / 8


def test_negative_indices_count_from_the_end_and_others_are_refused() -> None:
    dataset = make_dataset()
    assert dataset[-1].observations[0, 0] == 10.0
    with pytest.raises(IndexError, match="episode 2 of 2"):
        dataset[2]


def test_returns_are_summed_by_episode() -> None:
    rewarded = replace(make_episode(3), rewards=np.array([1.0, 2.0, 4.0], np.float32))
    assert make_dataset(rewarded, make_episode(2)).returns.tolist() == [7.0, 2.0]


def test_locate_finds_the_episode_and_step_of_a_row() -> None:
    dataset = make_dataset()
    found = [dataset.locate(row) for row in range(5)]
    assert found == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]


@pytest.mark.parametrize("name", ["observations", "actions", "terminations", "truncations"])
def test_a_field_of_another_length_than_the_rewards_is_named(name: str) -> None:
    dataset = make_dataset()
    with pytest.raises(ValueError, match=f"{name} has 4 rows, rewards has 5"):
        replace(dataset, **{name: getattr(dataset, name)[:4]})


def test_episodes_whose_ragged_fields_add_up_all_the_same_are_refused() -> None:
    """An action too many here and one too few there would shift every action between them."""
    long = replace(make_episode(3), actions=np.zeros((4, 1), np.float32))
    short = replace(make_episode(3), actions=np.zeros((2, 1), np.float32))
    with pytest.raises(ValueError, match="episode 0.*actions|actions.*episode 0"):
        make_dataset(long, short)


def test_too_many_observations_name_the_episode() -> None:
    with pytest.raises(ValueError, match="episode 1 has 4 observations for 2 rewards"):
        make_dataset(make_episode(3), make_episode(2, extra=2))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["observations", "actions", "rewards"])
def test_a_number_that_is_not_finite_names_field_episode_and_step(name: str, value: float) -> None:
    values = getattr(make_dataset(), name).copy()
    values[4] = value
    with pytest.raises(ValueError, match=f"{name} at episode 1, step 1 is not finite"):
        replace(make_dataset(), **{name: values})


def test_infinities_of_both_signs_are_refused_like_one() -> None:
    values = make_dataset().observations.copy()
    values[1], values[2] = np.inf, -np.inf
    with pytest.raises(ValueError, match="observations at episode 0, step 1 is not finite"):
        replace(make_dataset(), observations=values)


def test_no_episode_is_refused() -> None:
    with pytest.raises(ValueError, match="holds no episode"):
        EpisodeDataset.from_episodes("none", [], observation_space=PLANE, action_space=LEVER)


def test_an_episode_without_a_step_is_named() -> None:
    with pytest.raises(ValueError, match="episode 1 has 0 steps"):
        make_dataset(make_episode(3), make_episode(0), make_episode(2))


def test_offsets_that_do_not_cover_the_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="cover 4 steps, but rewards has 5"):
        replace(make_dataset(), offsets=np.array([0, 3, 4]))


def test_rewards_of_more_than_one_number_a_step_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rewards has shape \(5, 1\)"):
        replace(make_dataset(), rewards=np.ones((5, 1), np.float32))


def test_float_actions_of_a_discrete_space_are_refused() -> None:
    with pytest.raises(ValueError, match=r"actions are float32, but the space is Discrete\(3\)"):
        replace(make_dataset(), actions=np.ones(5, np.float32), action_space=spaces.Discrete(3))


@pytest.mark.parametrize("outside", [0, 4])
def test_a_discrete_action_outside_its_space_names_episode_and_step(outside: int) -> None:
    actions = np.array([1, 2, 3, outside, 1])
    with pytest.raises(ValueError, match=f"actions at episode 1, step 0 is {outside}, outside"):
        replace(make_dataset(), actions=actions, action_space=spaces.Discrete(3, start=1))


@pytest.mark.parametrize("name", ["observations", "actions"])
def test_values_of_another_shape_than_their_space_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} have shape \(7,\) a step"):
        replace(make_dataset(), **{name: np.zeros((5, 7), np.float32)})


def test_an_episode_of_a_loop_s_own_lists_is_stacked_and_ends_as_it_did() -> None:
    seen = [{"b": np.float32([t, 0]), "a": t % 2} for t in range(4)]
    episode = Episode.of_steps(seen, [1, 0, 1], [0.5, np.float32(1), 2], terminated=False)
    assert episode.observations.dtype.names == ("a", "b") and len(episode.observations) == 4
    np.testing.assert_array_equal(episode.observations["b"][:, 0], [0, 1, 2, 3])
    assert episode.rewards.tolist() == [0.5, 1, 2] and episode.rewards.dtype == np.float32
    assert not episode.terminations.any() and episode.truncations.tolist() == [False, False, True]
    ended = Episode.of_steps([0, 1], [1, 0], [1.0, 1.0], terminated=True)
    assert ended.terminations.tolist() == [False, True] and not ended.truncations.any()


@pytest.mark.parametrize(
    ("observations", "actions", "message"),
    [
        ([0, 1, 2, 3], [1, 1], "of_steps: episode 0 has 4 observations for 2 rewards"),
        ([0, 1], [1], "of_steps: episode 0 has 1 actions for 2 rewards"),
        ([{"a": 1}, {"b": 1}], [1, 1], "of_steps: observations: step 1 has the parts b, step 0 a;"),
        ([{"a": 1}, 1], [1, 1], "observations: step 1 has the parts none, step 0 a; give steps"),
        ([np.zeros(2), np.zeros(3)], [1, 1], r"step 1 has shape \(3,\), step 0 \(2,\)"),
    ],
)
def test_steps_of_a_loop_that_do_not_agree_are_named(
    observations: list, actions: list, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Episode.of_steps(observations, actions, [1.0, 1.0], terminated=True)
