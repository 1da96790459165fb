"""Contexts: windows of the run's own data that end where the model is about to act."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces
from tiny import make_config, make_dataset

from dt.data import TrainingData
from dt.data.batches.split import split_episodes
from dt.data.batches.windows import draw_ends
from dt.spec.spec import PolicySpec
from dt.steering.contexts import draw_contexts


def test_ends_are_drawn_uniformly_and_no_window_leaves_its_episode() -> None:
    offsets = np.array([0, 2, 10])
    windows = draw_ends(offsets, 3, 0, range(4000))
    last = windows.start + windows.length - 1
    np.testing.assert_allclose(np.bincount(last, minlength=10) / 4000, 0.1, atol=0.02)
    assert windows.length.tolist() == np.minimum(np.where(last < 2, last, last - 2) + 1, 3).tolist()
    np.testing.assert_array_equal(windows.timestep, np.where(last < 2, 0, windows.start - 2))


def test_contexts_are_steps_of_the_data_and_held_out_where_there_are_such() -> None:
    dataset = make_dataset([6, 9, 4, 7])
    data = TrainingData.of(dataset)
    spec = PolicySpec.of(data, make_config().model)
    contexts = draw_contexts(data, spec, 50, holdout_fraction=0.3, training_seed=1)
    _, held = split_episodes(data.offsets, data.returns, 0.3, 1)
    assert contexts.held_out and held is not None and held.num_steps == 4
    assert set(contexts.episodes) == {2}
    row = 7
    last = int(contexts.last[row])
    step = data.offsets[2] + int(contexts.batch.timesteps[row, last])
    seen = spec.observation_normalizer(dataset.observations[step])
    np.testing.assert_allclose(contexts.batch.observations.numbers[row, last], seen, rtol=1e-5)
    assert contexts.batch.mask[row].sum() == last + 1
    few, others = contexts.split(10)
    assert len(few) == 10 and len(others) == 40
    assert not draw_contexts(data, spec, 5).held_out


def test_data_of_another_space_are_refused() -> None:
    data = TrainingData.of(make_dataset([6, 9]))
    spec = PolicySpec.of(data, make_config().model)
    other = TrainingData.of(make_dataset([6, 9], spaces.Discrete(3)))
    with pytest.raises(ValueError, match="its action space is Discrete"):
        draw_contexts(other, spec, 5)
