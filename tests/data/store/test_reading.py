"""Is a batch the same bits, whichever way it is read?"""

from __future__ import annotations

import dataclasses
import os
from operator import itemgetter
from pathlib import Path

import jax
import numpy as np
import pytest
from gymnasium import spaces
from tiny import make_config, make_dataset
from toy import toy_dataset

from dt.data import TrainingData, Transforms, draw_windows, gather
from dt.data.store.reading import RowFile, read_rows
from dt.data.store.store import open_or_build
from dt.parallel.mesh import make_mesh
from dt.spec.spec import PolicySpec
from dt.training.feed import Feed

LENGTHS = [7, 2, 11, 1, 30, 6]


@pytest.mark.parametrize("num_steps", [1, 6, 40, 80])
def test_read_rows_are_those_of_the_indices(num_steps: int) -> None:
    data = TrainingData.of(make_dataset(LENGTHS))
    windows = draw_windows(data.offsets, num_steps, 0, 0, range(500))
    read = read_rows(data.rows, windows, num_steps)
    for row in range(500):
        start, length = windows.start[row], windows.length[row]
        np.testing.assert_array_equal(read[row, :length], data.rows[start : start + length])
        padding = read[row, length:]
        np.testing.assert_array_equal(
            padding, np.repeat(data.rows[[start + length - 1]], len(padding), 0)
        )


PICTURES = spaces.Dict(camera=spaces.Box(0, 255, (4, 3, 3), np.uint8), mode=spaces.Discrete(3))


@pytest.mark.parametrize("kind", ["numbers", "parts"])
@pytest.mark.parametrize("where", ["host", "disk"])
def test_every_way_of_reading_gives_the_same_batches(tmp_path: Path, where: str, kind: str) -> None:
    config, dataset = make_config(), make_dataset(LENGTHS)
    if kind == "parts":
        dataset = toy_dataset(PICTURES, spaces.MultiBinary(2))
    data = open_or_build(tmp_path / "s", lambda: dataset, Transforms())
    spec = PolicySpec.of(data, config.model)
    placed = make_feed(TrainingData.of(dataset), spec, "device")
    read = make_feed(data, spec, where)
    assert placed.on_device and not read.on_device
    for step in (0, 2, 10):  # the last was not read ahead
        windows, batches = (feed.round(step, step + 2) for feed in (placed, read))
        for update in range(2):
            window = jax.tree.map(itemgetter(update), windows)
            cut = jax.jit(gather, static_argnums=2)(placed.steps, window, placed.num_steps)
            pairs = zip(jax.tree.leaves(cut), jax.tree.leaves(batches), strict=True)
            for x, y in pairs:
                assert x.dtype == y.dtype
                np.testing.assert_array_equal(x, y[update])
    read.close()


def make_feed(data: TrainingData, spec: PolicySpec, where: str) -> Feed:
    config = make_config()
    chosen = dataclasses.replace(config.data, placement=where)  # type: ignore[arg-type]
    config = dataclasses.replace(config, data=chosen)
    return Feed(data, spec, config, make_mesh(jax.devices()[:1]))


def test_a_failing_read_reaches_the_caller(tmp_path: Path) -> None:
    data = open_or_build(tmp_path / "s", lambda: make_dataset(LENGTHS), Transforms())
    feed = make_feed(data, PolicySpec.of(data, make_config().model), "disk")
    os.truncate(tmp_path / "s" / "rows.bin", 40)
    with pytest.raises(ValueError, match="rows.bin: ends before byte .* cut short"):
        feed.round(0, 2)
    feed.close()


@pytest.mark.parametrize("without", [(), ("posix_fadvise",), ("posix_fadvise", "preadv")])
@pytest.mark.parametrize("num_steps", [1, 6, 40, 80])
def test_a_file_is_read_like_memory(
    tmp_path: Path, num_steps: int, without: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in without:  # macOS has not the first, Windows neither
        monkeypatch.delattr(os, name, raising=False)
    data = open_or_build(tmp_path / "s", lambda: make_dataset(LENGTHS), Transforms())
    windows = draw_windows(data.offsets, num_steps, 0, 0, range(50))
    file = RowFile(tmp_path / "s" / "rows.bin", data.rows.shape[1])
    read = file.read(windows, num_steps)
    file.close()
    np.testing.assert_array_equal(read, read_rows(data.rows, windows, num_steps))


def test_every_step_of_every_episode_is_drawn() -> None:
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)])
    seen = np.zeros(offsets[-1], bool)
    for step in range(40):
        windows = draw_windows(offsets, 5, 0, step, range(8))
        for start, length in zip(windows.start, windows.length, strict=True):
            seen[start : start + length] = True
    assert seen.all()
