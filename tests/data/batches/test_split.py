"""Episodes that are held out are never drawn, and all others are, wherever the data lies."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import jax
import numpy as np
import pytest
from tiny import make_config, make_dataset

from dt.config import TrainConfig
from dt.data import TrainingData, Transforms, Windows, draw_windows
from dt.data.batches.split import EpisodePart, split_episodes
from dt.data.store.store import open_or_build
from dt.parallel.mesh import make_mesh
from dt.spec.spec import PolicySpec
from dt.training.feed import Feed

LENGTHS = [7, 2, 11, 1, 30, 6, 5, 9]
OFFSETS = np.concatenate([[0], np.cumsum(LENGTHS)])
RETURNS = np.arange(8.0)


def episodes_of(windows: Windows) -> set[int]:
    """Episodes that the windows lie in; fails where one crosses an episode's end."""
    episode = np.searchsorted(OFFSETS, windows.start, side="right") - 1
    np.testing.assert_array_equal(windows.start - OFFSETS[episode], windows.timestep)
    assert (windows.start + windows.length <= OFFSETS[episode + 1]).all()
    return set(episode.reshape(-1).tolist())


def test_without_a_fraction_windows_are_those_of_all_data() -> None:
    training, holdout = split_episodes(OFFSETS, RETURNS, 0.0, seed=0)
    assert holdout is None
    windows = training.draw(4, 3, 5, range(64))
    for a, b in zip(windows, draw_windows(OFFSETS, 4, 3, 5, range(64)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_part_of_all_episodes_draws_what_the_whole_does() -> None:
    whole = EpisodePart.whole(OFFSETS, RETURNS)
    part = EpisodePart.of(OFFSETS, RETURNS, np.arange(8))
    windows = (each.draw(4, 3, 5, range(64), "prompt", 3) for each in (whole, part))
    for a, b in zip(*map(jax.tree.leaves, windows), strict=True):
        np.testing.assert_array_equal(a, b)


def test_episodes_are_divided_by_the_seed_and_their_share() -> None:
    found = set()
    for seed in range(20):
        training, holdout = split_episodes(OFFSETS, RETURNS, 0.25, seed)
        assert holdout is not None
        parts = [episodes_of(part.draw(4, 0, 0, range(2000))) for part in (training, holdout)]
        assert len(parts[1]) == 2 and parts[0] | parts[1] == set(range(8))
        assert not parts[0] & parts[1]
        again = split_episodes(OFFSETS, RETURNS, 0.25, seed)[1]
        assert again is not None
        np.testing.assert_array_equal(again.shifts, holdout.shifts)
        found.add(tuple(sorted(parts[1])))
    assert len(found) > 5
    smallest = split_episodes(OFFSETS, RETURNS, 1e-9, 0)[1]
    assert smallest is not None and len(smallest.offsets) == 2


def test_what_leaves_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data.holdout_fraction 0.5 holds out 1 of 1 episode"):
        split_episodes(np.array([0, 4]), np.zeros(1), 0.5, 0)


Place = Literal["device", "host", "disk"]
Before = Literal["none", "prompt"]


def held_out(where: Place, prefix: Before) -> TrainConfig:
    config = make_config(prefix=prefix, prompt_length=2)
    data = dataclasses.replace(config.data, placement=where, holdout_fraction=0.3)
    return dataclasses.replace(config, data=data, num_steps=40, log_interval=40)


@pytest.mark.parametrize("prefix", ["none", "prompt"])
def test_no_held_out_episode_is_fed_wherever_the_data_lies(tmp_path: Path, prefix: Before) -> None:
    """Each step's first observation is its episode's number, which batches then show."""
    dataset = make_dataset(LENGTHS)
    numbers = np.repeat(np.arange(8, dtype=np.float32), LENGTHS)
    observations = np.concatenate([numbers[:, None], dataset.observations[:, 1:]], axis=1)
    dataset = dataclasses.replace(dataset, observations=observations)
    data = open_or_build(tmp_path / "s", lambda: dataset, Transforms())
    config = held_out("device", prefix)
    spec, mesh = PolicySpec.of(data, config.model), make_mesh(jax.devices()[:1])
    assert isinstance(data, TrainingData)

    feed = Feed(data, spec, config, mesh)
    training, holdout = feed.round(0, 40), feed.holdout_draw()
    assert isinstance(training, Windows) and isinstance(holdout, Windows)
    fed, held = episodes_of(training), episodes_of(holdout)
    assert len(fed) == 6 and held and not fed & held
    if training.prefix is not None and holdout.prefix is not None:
        assert episodes_of(training.prefix) <= fed and not episodes_of(holdout.prefix) & fed

    scale = spec.observation_normalizer
    places: tuple[Place, ...] = ("host", "disk")
    for where in places:
        feed = Feed(data, spec, held_out(where, prefix), mesh)
        for expected, draw in ((fed, feed.round(0, 40)), (held, feed.holdout_draw())):
            assert draw is not None and not isinstance(draw, Windows)
            shown = [draw, *([] if draw.prefix is None else [draw.prefix])]
            for batch in shown:
                seen = scale.invert(np.asarray(batch.observations.numbers))[..., 0]
                assert set(np.unique(seen.round()).astype(int).tolist()) <= expected
        feed.close()
