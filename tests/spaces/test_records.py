"""Do steps of several parts survive the way from trees to records, through files, and back?"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from toy import stacked, toy_dataset

from dt.data import EpisodeDataset, TrainingData, load_dataset
from dt.data.card.card import data_card
from dt.data.formats.convert import convert
from dt.data.formats.npz import write_npz
from dt.spaces.parts import leaves
from dt.spaces.records import stack_steps, to_records, to_tree
from dt.spaces.text import space_from_text, space_to_text

SEEN = spaces.Dict(
    camera=spaces.Box(0, 255, (4, 3, 3), np.uint8),
    arm=spaces.Tuple([spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Discrete(3, start=-1)]),
    mode=spaces.MultiBinary((2, 2)),
)
DONE = spaces.Tuple(
    [
        spaces.MultiDiscrete([[3, 2], [2, 4]], start=[[0, 5], [-1, 0]]),
        spaces.Dict(
            grip=spaces.Discrete(2, dtype=np.int32), push=spaces.Box(-np.inf, np.inf, (1,))
        ),
    ]
)


@pytest.fixture
def dataset() -> EpisodeDataset:
    return toy_dataset(SEEN, DONE, episodes=3)


def assert_same(left: np.ndarray, right: np.ndarray) -> None:
    assert left.dtype == right.dtype
    np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("space", [SEEN, DONE, SEEN["mode"]])
def test_trees_become_records_and_trees_again(space: spaces.Space) -> None:
    tree = batch_space(space, 5).sample()
    records = to_records(space, tree)
    assert len(records) == 5
    assert_same(records, to_records(space, to_tree(space, records)))
    assert batch_space(space, 5).contains(to_tree(space, records))
    for leaf in leaves(space):
        np.testing.assert_array_equal(leaf.of(records[1:3]), leaf.of(tree)[1:3])


def test_a_space_survives_json_with_its_integer_types() -> None:
    for space in (SEEN, DONE):
        back = space_from_text(space_to_text(space))
        assert back == space
        assert [leaf.space.dtype for leaf in leaves(back)] == [
            leaf.space.dtype for leaf in leaves(space)
        ]


def test_columns_hold_every_part(dataset: EpisodeDataset) -> None:
    data = TrainingData.of(dataset)
    seen, done, columns = dataset.observations, dataset.actions, data.columns
    assert_same(data.rows[:, columns.observation], seen["arm"]["0"])
    categories = data.rows[:, columns.observation_categories]
    np.testing.assert_array_equal(categories[:, 0], seen["arm"]["1"] + 1)
    np.testing.assert_array_equal(categories[:, 1:], seen["mode"].reshape(-1, 4))
    assert data.images is not None
    np.testing.assert_array_equal(data.images, seen["camera"].reshape(len(seen), -1))
    np.testing.assert_array_equal(data.rows[:, columns.action], done["1"]["push"])
    low = np.array([0, 5, -1, 0])
    categories = data.rows[:, columns.action_categories]
    np.testing.assert_array_equal(categories[:, :4], done["0"].reshape(-1, 4) - low)
    np.testing.assert_array_equal(categories[:, 4], done["1"]["grip"])


@pytest.mark.parametrize("finals", [True, False])
@pytest.mark.parametrize("out", ["out.npz", "out-v0"])
def test_files_give_back_every_value_and_type(
    out: str, finals: bool, dataset: EpisodeDataset, tmp_path: Path
) -> None:
    if finals:
        dataset = dataclasses.replace(dataset, final_observations=dataset.observations[:3])
    write_npz(tmp_path / "in.npz", dataset)
    back = load_dataset(str(convert(str(tmp_path / "in.npz"), tmp_path / out)))
    for name in ("observations", "actions"):
        assert_same(getattr(back, name), getattr(dataset, name))
    assert (back.final_observations is not None) == finals
    if finals:
        assert_same(back.final_observations, dataset.final_observations)
    assert back.observation_space == SEEN and back.action_space == DONE


def test_d4rl_s_format_has_no_place_for_parts(dataset: EpisodeDataset, tmp_path: Path) -> None:
    write_npz(tmp_path / "in.npz", dataset)
    with pytest.raises(ValueError, match="has several parts, D4RL's format one array"):
        convert(str(tmp_path / "in.npz"), tmp_path / "out.hdf5")


def test_a_file_without_a_part_or_its_spaces_is_refused(
    dataset: EpisodeDataset, tmp_path: Path
) -> None:
    path = tmp_path / "in.npz"
    write_npz(path, dataset)
    with np.load(path) as archive:
        arrays = dict(archive)

    def read_without(*keys: str, **others: np.ndarray) -> None:
        np.savez(path, **{k: v for k, v in arrays.items() if k not in keys}, **others)
        load_dataset(str(path))

    with pytest.raises(ValueError, match="has no key 'observations/arm/1'"):
        read_without("observations/arm/1")
    with pytest.raises(ValueError, match="not their spaces; add observation_space"):
        read_without("observation_space")
    short: dict[str, Any] = {"observations/mode": arrays["observations/mode"][:-1]}
    with pytest.raises(ValueError, match="observations: .*unequal lengths.*'mode': 11"):
        read_without("observations/mode", **short)


def test_a_value_that_cannot_be_is_named_with_its_part(dataset: EpisodeDataset) -> None:
    observations, actions = dataset.observations.copy(), dataset.actions.copy()
    observations["arm"]["0"][5, 1] = np.nan
    with pytest.raises(ValueError, match="observations/arm/0 at episode 1, step 1 is not finite"):
        dataclasses.replace(dataset, observations=observations)
    actions["0"][6, 0, 1] = 4
    with pytest.raises(
        ValueError, match=r"actions/0 at episode 1, step 2 (.|\n)*, outside MultiDiscrete"
    ):
        dataclasses.replace(dataset, actions=actions)
    with pytest.raises(ValueError, match="observations have no part arm/0, but are plain arrays"):
        dataclasses.replace(dataset, observations=np.zeros((12, 2)))


def test_the_card_counts_columns_by_their_parts(dataset: EpisodeDataset) -> None:
    observations = dataset.observations.copy()
    observations["arm"]["0"][:, 1] = 0.5
    card, _ = data_card(dataclasses.replace(dataset, observations=observations))
    assert card["observations"]["constant"] == ["arm/0/1"]
    assert card["observations"]["columns"] == 2 + 1 + 36 + 4
    assert card["actions"]["kind"] == "several" and card["actions"]["unknown"] == 0
    assert "camera: Box(0, 255, (4, 3, 3), uint8)" in card["observation_space"]


@pytest.mark.parametrize("space", [SEEN, DONE, SEEN["mode"]])
def test_steps_as_one_environment_gives_them_stack_without_their_space(space: spaces.Space) -> None:
    steps = [space.sample() for _ in range(3)]
    wanted, found = stacked(space, steps), stack_steps(steps)
    assert len(found) == 3
    for leaf in leaves(space):
        assert_same(leaf.of(found), leaf.of(wanted))
