"""What may a file of flat arrays say about itself, and what is refused?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from tiny import make_dataset

from dt.data.formats.flat import (
    complete_lengths,
    from_arrays,
    from_steps,
    kwargs_to_text,
    to_extras,
)
from dt.spaces.text import space_to_text


def make_arrays(**changes: Any) -> dict[str, np.ndarray]:
    """Episodes of 3 and 2 steps; a change of None removes the key."""
    arrays = {
        "observations": np.zeros((5, 2), np.float32),
        "actions": np.array([0, 1, 0, 1, 0]),
        "rewards": np.ones(5),
        "episode_lengths": np.array([3, 2]),
        **changes,
    }
    return {key: np.asarray(value) for key, value in arrays.items() if value is not None}


def spaces_of(observation: spaces.Space, action: spaces.Space) -> dict[str, str]:
    return {"observation_space": space_to_text(observation), "action_space": space_to_text(action)}


PLANE = spaces.Box(-np.inf, np.inf, (2,), np.float64)


def test_spaces_that_a_file_states_are_taken_before_the_environment_s() -> None:
    arrays = make_arrays(env_id="CartPole-v1", **spaces_of(PLANE, spaces.Discrete(9)))
    dataset = from_arrays("log", arrays)
    assert (dataset.observation_space, dataset.action_space) == (PLANE, spaces.Discrete(9))
    assert (dataset.env_id, dataset.spaces_inferred) == ("CartPole-v1", False)


def test_the_environment_that_the_user_names_is_taken_before_all() -> None:
    arrays = make_arrays(**spaces_of(PLANE, spaces.Discrete(9)), env_kwargs='{"a": 1}')
    arrays["observations"] = np.zeros((5, 4), np.float32)
    dataset = from_arrays("log", arrays, "CartPole-v1")
    assert (dataset.action_space, dataset.env_kwargs) == (spaces.Discrete(2), {})


def test_spaces_that_nobody_states_are_guessed_and_said_to_be() -> None:
    dataset = from_arrays("log", make_arrays())
    assert dataset.spaces_inferred
    assert dataset.action_space == spaces.Discrete(2)


def test_arguments_of_the_file_and_of_the_user_are_joined() -> None:
    arrays = make_arrays(env_kwargs='{"max_episode_steps": 5, "wind": [1, 2]}')
    dataset = from_arrays("log", arrays, None, {"max_episode_steps": 9})
    assert dataset.env_kwargs == {"max_episode_steps": 9, "wind": [1, 2]}


@pytest.mark.parametrize("text", ["{", "[1, 2]", ""])
def test_arguments_that_are_no_json_object_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="log: env_kwargs is "):
        from_arrays("log", make_arrays(env_kwargs=text))


@pytest.mark.parametrize("text", ["{", '{"type": "Ball"}', "[]", '{"type": "Discrete"}'])
def test_spaces_that_are_none_are_refused(text: str) -> None:
    stated = {**spaces_of(PLANE, spaces.Discrete(9)), "action_space": text}
    with pytest.raises(ValueError, match="log: observation_space and action_space are no spaces"):
        from_arrays("log", make_arrays(**stated))


def test_one_number_in_a_second_axis_is_no_axis() -> None:
    arrays = make_arrays(rewards=np.ones((5, 1)), actions=np.array([[0], [1], [0], [1], [0]]))
    dataset = from_arrays("log", arrays)
    assert dataset.rewards.shape == dataset.actions.shape == (5,)


def test_actions_of_a_stated_space_keep_their_axis() -> None:
    lever = spaces.Box(0, 3, (1,), np.int64)
    arrays = make_arrays(actions=np.array([[0], [1], [0], [1], [0]]), **spaces_of(PLANE, lever))
    assert from_arrays("log", arrays).actions.shape == (5, 1)


def test_rewards_of_several_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"log: rewards has shape \(5, 2\)"):
        from_arrays("log", make_arrays(rewards=np.ones((5, 2))))


def test_last_observations_need_one_row_an_episode() -> None:
    with pytest.raises(ValueError, match="final_observations has 3 rows for 2 episodes"):
        from_arrays("log", make_arrays(final_observations=np.zeros((3, 2))))


def test_no_step_is_no_episode() -> None:
    empty = {"observations": np.zeros((0, 2)), "actions": np.zeros(0, int), "rewards": np.zeros(0)}
    for ends in ({"episode_lengths": np.zeros(0, int)}, {"terminations": np.zeros(0, bool)}):
        arrays = make_arrays(**empty, **{"episode_lengths": None, **ends})
        with pytest.raises(ValueError, match="log: holds no episode"):
            from_arrays("log", arrays)
    with pytest.raises(ValueError, match="log: holds no episode"):
        from_steps("log", [])


@pytest.mark.parametrize("kwargs", [{"a": (1, 2)}, {1: "a"}, {"a": np.zeros(2)}, {"a": {1}}])
def test_arguments_that_would_not_come_back_the_same_are_refused(kwargs: dict[Any, Any]) -> None:
    dataset = make_dataset([2])
    object.__setattr__(dataset, "env_kwargs", kwargs)
    with pytest.raises(ValueError, match="tiny: env_kwargs"):
        kwargs_to_text(dataset)


def test_nothing_is_said_that_is_not_known() -> None:
    assert to_extras(make_dataset([2])).keys() == {"observation_space", "action_space"}


@pytest.mark.parametrize(
    ("ends", "lengths"), [([0, 1, 0, 0, 1], [2, 3]), ([1, 0, 0, 1, 0], [1, 3]), ([0, 0], [])]
)
def test_steps_after_the_last_end_are_in_no_episode(ends: list[int], lengths: list[int]) -> None:
    assert complete_lengths(np.array(ends, bool)).tolist() == lengths
