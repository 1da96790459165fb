"""Does a store hold what the log held, and is it made once, whole or not at all?"""

from __future__ import annotations

import dataclasses
import errno
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces
from tiny import make_dataset

from dt.data import EpisodeDataset, TrainingData, Transforms
from dt.data.batches.split import split_episodes
from dt.data.card.card import data_card
from dt.data.episodes import Episode
from dt.data.formats.sources import open_source
from dt.data.store import checksums, rows
from dt.data.store.store import content_key, open_or_build, open_store
from dt.data.streams import EpisodeStream


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch) -> EpisodeDataset:
    monkeypatch.setattr(rows, "CHUNK_STEPS", 16)  # several chunks
    monkeypatch.setattr(checksums, "BLOCK", 256)  # several checksums
    return make_dataset([7, 2, 11, 5, 30, 1, 4])


def stream_of(dataset: EpisodeDataset, episodes: list[Episode] | None = None) -> EpisodeStream:
    return EpisodeStream(
        name=dataset.name,
        observation_space=dataset.observation_space,
        action_space=dataset.action_space,
        episodes=lambda: iter(list(dataset) if episodes is None else episodes),
    )


def build(folder: Path, dataset: EpisodeDataset, **transforms: float) -> TrainingData:
    return open_or_build(folder, lambda: dataset, Transforms(**transforms))  # type: ignore[arg-type]


def assert_same(a: TrainingData, b: TrainingData) -> None:
    for name in ("rows", "offsets", "returns"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for x, y in zip(a.moments, b.moments, strict=True):
        np.testing.assert_array_equal(x, y)
    for name in ("name", "observation_space", "action_space", "env_id", "env_kwargs", "transforms"):
        assert getattr(a, name) == getattr(b, name)


@pytest.mark.parametrize("transforms", [{}, {"top_fraction": 0.5}, {"discount": 0.9}])
def test_memory_stream_and_store_hold_the_same_bits(
    tmp_path: Path, dataset: EpisodeDataset, transforms: dict[str, float]
) -> None:
    chosen = Transforms(**transforms)  # type: ignore[arg-type]
    memory = TrainingData.of(dataset, chosen)
    assert_same(memory, TrainingData.of(stream_of(dataset), chosen))
    assert_same(memory, build(tmp_path / "s", dataset, **transforms))
    assert_same(memory, open_store(tmp_path / "s"))


def test_moments_are_those_of_all_rows(dataset: EpisodeDataset) -> None:
    data = TrainingData.of(dataset)
    np.testing.assert_allclose(data.moments.mean, data.rows.mean(axis=0, dtype=np.float64))
    np.testing.assert_allclose(data.moments.std, data.rows.std(axis=0, dtype=np.float64))
    np.testing.assert_array_equal(data.moments.low, data.rows.min(axis=0))


def test_pictures_stay_bytes(tmp_path: Path) -> None:
    count = 9
    pictures = np.random.default_rng(0).integers(0, 256, (count, 4, 5), dtype=np.uint8)
    base = make_dataset([4, 5])
    dataset = dataclasses.replace(
        base, observations=pictures, observation_space=spaces.Box(0, 255, (4, 5), np.uint8)
    )
    data = build(tmp_path / "s", dataset)
    assert data.images is not None and data.images.dtype == np.uint8
    np.testing.assert_array_equal(data.images, pictures.reshape(count, -1))
    assert data.rows.shape == (count, 3)  # two actions and the return-to-go


def test_it_is_read_once(tmp_path: Path, dataset: EpisodeDataset) -> None:
    build(tmp_path / "s", dataset)

    def again() -> EpisodeDataset:
        raise AssertionError("the log was read again")

    open_or_build(tmp_path / "s", again, Transforms())


def test_other_bytes_are_named(tmp_path: Path, dataset: EpisodeDataset) -> None:
    folder = tmp_path / "s"
    build(folder, dataset)
    for name in ("rows.bin", "offsets.npy", "returns.npy"):
        content = (folder / name).read_bytes()
        changed = bytearray(content)
        changed[-2] ^= 4
        (folder / name).write_bytes(changed)
        with pytest.raises(ValueError, match=f"{name}: the bytes from [0-9]+ on.*remove"):
            open_store(folder)
        (folder / name).write_bytes(content)
        open_store(folder)
    (folder / "rows.bin").write_bytes(content[:-4])
    with pytest.raises(ValueError, match="rows.bin"):
        open_store(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"notes": [1]}, "notes.*: 1 is no str"),
        ({"transforms": {"discuont": 1.0}}, "transforms: extra fields found .discuont."),
        ({"name": None}, "name: None is no str"),
        ({"format": 1}, "store of format 1, not 3"),
    ],
)
def test_other_values_are_named(
    tmp_path: Path, dataset: EpisodeDataset, change: dict[str, object], said: str
) -> None:
    build(tmp_path / "s", dataset)
    path = tmp_path / "s" / "store.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=f"{said}.*; remove"):
        open_store(tmp_path / "s")


def test_what_cannot_be_read_leaves_nothing(tmp_path: Path, dataset: EpisodeDataset) -> None:
    bad = list(dataset)
    bad[5] = dataclasses.replace(bad[5], rewards=np.array([np.nan]))
    with pytest.raises(ValueError, match="rewards at episode 5, step 0"):
        open_or_build(tmp_path / "s", lambda: stream_of(dataset, bad), Transforms())
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, dataset: EpisodeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match="disk is full.*--data.cache"):
        build(tmp_path / "s", dataset)
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing(tmp_path: Path, dataset: EpisodeDataset) -> None:
    def interrupt(steps: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_or_build(tmp_path / "s", lambda: dataset, Transforms(), on_steps=interrupt)
    assert list(tmp_path.iterdir()) == []


def _slow_build(folder: Path, started: Path, log: Path, seconds: float) -> None:
    dataset = make_dataset([7, 2, 11])

    def episodes() -> Iterator[Episode]:
        with log.open("a") as file:
            file.write("read\n")
        started.touch()
        time.sleep(seconds)
        yield from dataset

    stream = dataclasses.replace(stream_of(dataset), episodes=episodes)
    open_or_build(folder, lambda: stream, Transforms(), say=lambda line: None)


def _start(*args: object) -> multiprocessing.Process:
    # Not forked: JAX runs threads in the tests' process.
    process = multiprocessing.get_context("spawn").Process(target=_slow_build, args=args)
    process.start()
    return process


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_two_builders_at_once_read_the_log_once(tmp_path: Path) -> None:
    folder, log = tmp_path / "s", tmp_path / "log"
    both = [_start(folder, tmp_path / f"started{i}", log, 1.0) for i in range(2)]
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    assert log.read_text() == "read\n"
    assert_same(open_store(folder), TrainingData.of(make_dataset([7, 2, 11])))


@pytest.mark.slow
def test_a_killed_build_is_made_anew(tmp_path: Path) -> None:
    folder, started = tmp_path / "s", tmp_path / "started"
    process = _start(folder, started, tmp_path / "log", 600.0)
    _wait_for(started)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert not folder.exists() and folder.with_name("s.partial").exists()
    build(folder, make_dataset([7, 2, 11]))
    assert {path.name for path in tmp_path.iterdir()} == {"s", "started", "log"}


def test_the_key_changes_with_content_and_choices(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a" * 200_000)
    os.utime(path, (0, 0))
    key = content_key([path], {"discount": 1.0})
    assert key == content_key([path], {"discount": 1.0})
    assert key != content_key([path], {"discount": 0.9})
    path.write_bytes(b"a" * 199_999 + b"b")
    os.utime(path, (0, 0))
    assert key != content_key([path], {"discount": 1.0})


def write_million(path: Path) -> None:
    """A log of a million episodes, each of one step."""
    count = 1_000_000
    np.savez(
        path,
        observations=np.arange(3 * count, dtype=np.float32).reshape(count, 3) % 1000,
        actions=np.arange(count) % 2,
        rewards=np.arange(count, dtype=np.float32) % 7,
        terminations=np.ones(count, bool),
    )


@pytest.mark.slow
def test_a_million_episodes_of_one_step_are_built_opened_and_drawn_in_seconds(
    tmp_path: Path,
) -> None:
    """A loop over episodes anywhere on this way would take them one by one."""
    write_million(tmp_path / "log.npz")
    begin = time.process_time()
    built = build(tmp_path / "store", open_source(str(tmp_path / "log.npz")))
    data = open_store(tmp_path / "store")
    part, held = split_episodes(data.offsets, data.returns, 0.1, seed=0)
    windows = [part.draw(20, 0, step, range(64), "prompt", 5) for step in range(50)]
    assert time.process_time() - begin < 15.0  # 3 on a core
    assert len(built) == len(data) == 1_000_000 and data.returns[6] == 6.0
    assert held is not None and held.num_steps == 100_000
    assert all((each.length == 1).all() and (each.timestep == 0).all() for each in windows)
    assert len(np.unique(np.concatenate([each.start for each in windows]))) > 3000


@pytest.mark.thorough
def test_a_million_episodes_of_one_step_have_a_card_in_seconds(tmp_path: Path) -> None:
    write_million(tmp_path / "log.npz")
    begin = time.process_time()
    card, table = data_card(open_source(str(tmp_path / "log.npz")))
    assert time.process_time() - begin < 30.0  # 5 on a core
    assert len(table.returns) == 1_000_000 and card["episodes"] == 1_000_000
