"""Does a data set's card count what is there, and name what is wrong by its place?"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from dt.data import EpisodeDataset, Reference
from dt.data.card.card import data_card
from dt.data.checks import unchecked_values
from dt.data.streams import EpisodeStream

UNBOUNDED = spaces.Box(-np.inf, np.inf, (3,), np.float32)


def make_dataset(**changes: Any) -> EpisodeDataset:
    """30 episodes of 4 or 6 steps that return 0 to 29."""
    lengths = np.tile([4, 6], 15)
    count = int(lengths.sum())
    rng = np.random.default_rng(0)
    ends = np.zeros(count, bool)
    ends[np.cumsum(lengths) - 1] = True
    fields: dict[str, Any] = {
        "name": "planted",
        "observations": rng.normal(size=(count, 3)).astype(np.float32),
        "actions": rng.uniform(-0.9, 0.9, (count, 2)).astype(np.float32),
        "rewards": np.repeat(np.arange(30) / lengths, lengths),
        "terminations": ends,
        "truncations": np.zeros(count, bool),
        "offsets": np.concatenate([[0], np.cumsum(lengths)]),
        "observation_space": UNBOUNDED,
        "action_space": spaces.Box(-1.0, 1.0, (2,), np.float32),
    }
    with unchecked_values():
        return EpisodeDataset(**{**fields, **changes})


def make_card(**changes: Any) -> dict[str, Any]:
    dataset = make_dataset(**changes)
    with unchecked_values():
        card, _ = data_card(dataset)
    json.dumps(card, allow_nan=False)
    return card


def test_sizes_returns_and_lengths_are_those_of_the_data() -> None:
    card = make_card()
    assert (card["episodes"], card["steps"]) == (30, 150)
    assert card["returns"]["percentiles"]["p50"] == pytest.approx(14.5)
    assert card["returns"]["percentiles"]["p100"] == pytest.approx(29.0)
    assert card["returns"]["mean"] == pytest.approx(14.5)
    assert card["returns"]["std"] == pytest.approx(np.std(np.arange(30)))
    assert card["returns"]["best_tenth_mean"] == pytest.approx(28.0)  # of 27, 28 and 29
    assert sum(card["returns"]["histogram"]["counts"]) == 30
    assert card["lengths"]["percentiles"]["p0"] == 4 and card["lengths"]["mean"] == 5
    assert card["problems"] == [] and card["notes"] == []


def test_the_table_keeps_each_episode_in_its_place() -> None:
    _, table = data_card(make_dataset())
    np.testing.assert_allclose(table.returns, np.arange(30), rtol=1e-12, atol=1e-12)
    assert table.lengths.tolist() == [4, 6] * 15


def stream_of(dataset: EpisodeDataset) -> EpisodeStream:
    return EpisodeStream(
        name=dataset.name,
        observation_space=dataset.observation_space,
        action_space=dataset.action_space,
        episodes=lambda: iter(dataset),
    )


def faulty() -> EpisodeDataset:
    """With NaN, copies, saturation and marks in several pieces of the pass."""
    whole = make_dataset()
    observations, actions = whole.observations.copy(), whole.actions.copy()
    rewards, terminations = whole.rewards.copy(), whole.terminations.copy()
    observations[[17, 90], [2, 0]] = np.nan
    actions[100:120, 1] = 1.0
    for values in (observations, actions, rewards):
        values[140:150] = values[0:10]
    terminations[[3, 51]] = [False, True]
    return make_dataset(
        observations=observations, actions=actions, rewards=rewards, terminations=terminations
    )


@pytest.mark.parametrize("num_bytes", [1, 500])
def test_the_card_of_a_stream_is_that_of_the_data_set_in_memory(
    num_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = faulty()
    monkeypatch.setattr("dt.data.streams.PIECE_BYTES", num_bytes)
    with unchecked_values():
        in_pieces, _ = data_card(stream_of(dataset))
        monkeypatch.undo()
        at_once, _ = data_card(dataset)
    assert len(at_once["problems"]) == 2 and len(at_once["notes"]) == 2
    assert at_once["duplicate_episodes"] == 2
    assert in_pieces == at_once


def test_what_the_reader_left_out_is_noted_first() -> None:
    assert make_card(notes=("the last 3 steps were cut",))["notes"] == ["the last 3 steps were cut"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_by_column_episode_and_step(value: float) -> None:
    observations = make_dataset().observations
    observations[[13, 14, 70], 2] = value  # rows 10 to 13 are episode 2, 14 is the first of 3
    observations[91, 0] = value
    card = make_card(observations=observations)
    assert card["observations"]["not_finite"] == [
        {"column": "2", "rows": 3, "first_episode": 2, "first_step": 3},
        {"column": "0", "rows": 1, "first_episode": 18, "first_step": 1},
    ]
    assert card["observations"]["not_finite_rows"] == 4
    assert np.isfinite([card["observations"]["low"], card["observations"]["high"]]).all()
    assert card["problems"][0] == (
        "observations[2] is NaN or infinite in 3 of 150 steps, first at episode 2, step 3"
    )


def test_nan_after_the_last_action_is_named_too() -> None:
    finals = np.zeros((30, 3), np.float32)
    finals[[4, 9], [1, 2]] = np.nan
    card = make_card(final_observations=finals)
    assert card["observations"]["not_finite_rows"] == 0
    assert card["problems"] == [
        "the observation after the last action is NaN or infinite in 2 of 30 episodes, first 4"
    ]


def test_many_bad_columns_are_summed_up() -> None:
    space = spaces.Box(-np.inf, np.inf, (5, 8), np.float32)
    observations = np.zeros((150, 5, 8), np.float32)
    observations[9] = np.nan
    card = make_card(observations=observations, observation_space=space)
    assert len(card["problems"]) == 4 and "37 more columns" in card["problems"][-1]
    assert card["observations"]["not_finite"][9]["column"] == "1,1"
    assert card["observations"]["not_finite_columns"] == 40
    assert len(card["observations"]["not_finite"]) == 20


def test_an_episode_whose_return_is_nan_is_left_out_of_the_percentiles() -> None:
    rewards = make_dataset().rewards
    rewards[-1] = np.nan  # of the best episode
    card = make_card(rewards=rewards)
    assert card["returns"]["percentiles"]["p100"] == pytest.approx(28.0)
    assert card["episodes"] == 30
    assert "rewards is NaN or infinite in 1 of 150" in card["problems"][0]


def test_a_card_of_nothing_but_nan_still_stands() -> None:
    card = make_card(
        rewards=np.full(150, np.nan), observations=np.full((150, 3), np.nan, np.float32)
    )
    assert card["returns"] is None and card["rewards"]["low"] is None
    assert card["steerability"]["verdict"] == "too few"
    assert card["observations"]["constant"] == []  # nothing is known of it


def test_what_a_card_reads_a_data_set_refuses() -> None:
    observations = make_dataset().observations
    observations[13, 2] = np.nan
    loose = make_dataset(observations=observations)
    with pytest.raises(ValueError, match="episode 2, step 3 is not finite"):
        loose.select(np.arange(30))
    with pytest.raises(ValueError, match="episode 2, step 3 is not finite"):
        data_card(stream_of(loose))


def test_columns_that_do_not_vary_are_named() -> None:
    observations = make_dataset().observations
    observations[:, 1] = 7.0
    observations[:, 0] = 1e6 + np.linspace(0, 0.1, 150)
    card = make_card(observations=observations)
    assert card["observations"]["constant"] == ["0", "1"]
    assert "2 of 3 observations never vary: 0 1" in card["notes"]


def test_saturation_is_the_share_at_either_bound_of_each_dimension() -> None:
    space = spaces.Box(np.array([-2.0, 0.0]), np.array([2.0, 1.0]), dtype=np.float64)
    actions = np.full((150, 2), 0.5)
    actions[:30, 0], actions[30:45, 0], actions[45, 0] = 2.0, -1.9981, 1.997
    actions[:15, 1] = 0.0004
    actions[15:20, 1] = 0.0006  # a thousandth of its half-range is 0.0005
    facts = make_card(actions=actions, action_space=space)["actions"]
    assert facts["saturation"] == [45 / 150, 15 / 150]
    assert facts["saturation_share"] == pytest.approx(60 / 300)


def test_without_bounds_nothing_is_saturated() -> None:
    space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    assert make_card(action_space=space)["actions"]["saturation"] is None


def test_actions_outside_their_box_are_a_problem_but_rounding_is_not() -> None:
    actions = make_dataset().actions
    actions[:4, 0] = np.nextafter(np.float32(1), np.float32(2))
    assert make_card(actions=actions)["actions"]["outside"] == 0
    actions[:3, 1] = -1.2
    assert make_card(actions=actions)["problems"] == ["action values outside the space: 3"]


def test_discrete_actions_are_counted_from_the_start_of_their_space() -> None:
    actions = np.repeat([5, 7], [100, 50])
    facts = make_card(actions=actions, action_space=spaces.Discrete(4, start=5))["actions"]
    assert facts["shares"] == pytest.approx([2 / 3, 0, 1 / 3, 0])
    assert facts["never_used"] == [6, 8]


def test_actions_that_the_space_lacks_are_a_problem() -> None:
    actions = np.zeros(150, np.int64)
    actions[:6] = [-1, 3, 3, 2, 99, 1]
    card = make_card(actions=actions, action_space=spaces.Discrete(3))
    assert card["problems"] == ["actions that the space lacks: 4"]
    assert sum(card["actions"]["shares"]) == pytest.approx(1.0)


def test_exact_copies_are_counted_and_near_ones_are_not() -> None:
    whole = make_dataset()
    observations, actions, rewards = whole.observations, whole.actions, whole.rewards
    for values in (observations, actions, rewards):
        values[10:14] = values[20:24] = values[0:4]  # episodes 2 and 4 repeat episode 0
    actions[20, 0] += 1e-6
    card = make_card(observations=observations, actions=actions, rewards=rewards)
    assert card["duplicate_episodes"] == 1
    assert "exact copies of other episodes: 1" in card["notes"]


def ends(*last: int) -> np.ndarray:
    """Marks at the last step of these episodes."""
    return np.isin(np.arange(150), np.cumsum(np.tile([4, 6], 15))[list(last)] - 1)


def test_endings_are_shares_of_the_episodes() -> None:
    card = make_card(terminations=ends(*range(12), 29), truncations=ends(*range(12, 18), 29))
    endings = card["endings"]
    assert endings["terminated"] == 12 / 30 and endings["truncated"] == 6 / 30
    assert endings["both"] == 1 / 30 and endings["neither"] == 11 / 30


def test_an_end_inside_an_episode_is_noted() -> None:
    card = make_card(terminations=ends(*range(30)) | np.isin(np.arange(150), [1, 8]))
    assert card["notes"] == ["steps marked as an end before their episode's last: 2"]


def test_the_limit_is_the_environment_s_or_the_longest_that_many_share() -> None:
    own = make_card()["endings"]
    assert (own["limit"], own["limit_from"], own["at_limit"]) == (6, "longest episodes", 0.5)
    assert own["cut_at_limit"] == 0.0  # they all terminated
    cut = make_card(terminations=ends(0), truncations=ends(*range(1, 30)))["endings"]
    assert cut["cut_at_limit"] == 0.5
    given = make_card(env_id="CartPole-v1", env_kwargs={"max_episode_steps": 4})
    assert given["endings"]["limit_from"] == "environment"
    assert given["endings"]["at_limit"] == 0.5 and given["endings"]["beyond_limit"] == 15
    assert "longer than the environment's 4 steps: 15" in given["notes"][0]
    registered = make_card(env_id="CartPole-v1")["endings"]
    assert (registered["limit"], registered["at_limit"]) == (500, 0.0)


def test_one_longest_episode_is_no_limit() -> None:
    lengths = np.arange(1, 81)
    count = int(lengths.sum())
    dataset = make_dataset(
        observations=np.zeros((count, 3), np.float32),
        actions=np.zeros((count, 2), np.float32),
        rewards=np.ones(count),
        terminations=np.zeros(count, bool),
        truncations=np.zeros(count, bool),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
    )
    card, _ = data_card(dataset)
    assert card["endings"]["limit"] is None and card["endings"]["at_limit"] is None
    assert card["steerability"]["verdict"] == "length"
    assert "every step has the same reward, so a return is a length" in card["notes"]


def test_a_reward_at_the_end_alone_is_told_from_one_on_the_way() -> None:
    rewards = np.where(ends(*range(0, 30, 2)), 1.0, 0.0)
    card = make_card(rewards=rewards)
    assert card["rewards"]["only_at_the_end"] and card["rewards"]["zero_share"] == 0.9
    assert "the reward comes with the last step alone" in card["notes"]
    rewards[0] = 0.5
    assert not make_card(rewards=rewards)["rewards"]["only_at_the_end"]


def test_a_reward_that_drowns_the_others_is_noted_with_its_place() -> None:
    rewards = np.ones(150)
    rewards[13] = -1e30
    card = make_card(rewards=rewards)
    place = f"episode {card['rewards']['largest_at'][0]}, step {card['rewards']['largest_at'][1]}"
    assert f"the reward at {place} is -1e+30: beside it all others are lost" in card["notes"]


def test_episodes_of_one_step_have_no_reward_on_the_way() -> None:
    card = make_card(offsets=np.arange(151), terminations=np.ones(150, bool))
    assert not card["rewards"]["only_at_the_end"]


def test_a_reference_scores_the_mean_return() -> None:
    card = make_card(reference=Reference("planted scores", 4.5, 24.5))
    assert card["reference"]["mean_score"] == pytest.approx(50.0)


def test_images_are_described_too() -> None:
    images = np.random.default_rng(0).integers(0, 255, (150, 6, 5, 3), dtype=np.uint8)
    images[:, 2, 4, 1] = 9
    card = make_card(observations=images, observation_space=spaces.Box(0, 255, (6, 5, 3), np.uint8))
    assert card["observations"]["columns"] == 90
    assert card["observations"]["constant"] == ["2,4,1"]


def test_a_space_is_written_on_one_line() -> None:
    space = spaces.Box(np.array([-1, -2, -3], np.float32), np.array([1, 2, 3], np.float32))
    assert "\n" not in make_card(observation_space=space)["observation_space"]
    assert make_card()["action_space"] == "Box(-1.0, 1.0, (2,), float32)"


@pytest.mark.parametrize(("inside", "noted"), [(0, False), (29, True)])
def test_terminals_that_stand_in_clusters_are_noted_with_a_remedy(inside: int, noted: bool) -> None:
    """An agent that stays at its goal: each terminal of a cluster would be an episode of a step."""
    ends = make_dataset().terminations
    clustered = ends.copy()
    clustered[len(ends) - 1 - inside : len(ends)] = True
    offsets = np.concatenate([[0], np.flatnonzero(clustered) + 1])
    card = make_card(terminations=clustered, offsets=offsets)
    found = [note for note in card["notes"] if "clusters" in note]
    assert bool(found) == noted
    if noted:
        remedy = found[0].partition(": ends = ")[2]
        names = {"terminals": clustered, "np": np}
        exec("ends = " + remedy, names)
        mended = np.diff(np.concatenate([[0], np.flatnonzero(names["terminals"]) + 1]))
        assert mended.min() > 1
