"""Does a data set come back from another format as it went in, and does a failure leave nothing?"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_logs import assert_same, described_logs
from tiny import make_dataset

from dt.data import Episode, EpisodeDataset, load_dataset
from dt.data.formats.convert import convert
from dt.data.formats.d4rl import write_d4rl
from dt.data.formats.npz import write_npz
from dt.data.formats.sources import open_source
from dt.data.streams import EpisodeStream

OUTPUTS = ("out.npz", "out.hdf5", "./out-v0", "some/where/out-v0")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path


@pytest.fixture
def source(root: Path) -> str:
    write_npz(root / "source.npz", make_dataset([3, 2]))
    return "source.npz"


def left_behind(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


@pytest.mark.slow
@settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(log=described_logs(), write=st.sampled_from([write_npz, write_d4rl]))
def test_a_round_trip_through_any_format_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, log: dict[str, Any], write: Callable[..., None]
) -> None:
    folder, dataset = tmp_path_factory.mktemp("trip"), EpisodeDataset.from_episodes(**log)
    write(folder / "source", dataset)
    assert_same(load_dataset(str(folder / "source")), dataset)
    for name in ("one.npz", "two.hdf5", "three-v0", "four.npz"):
        convert(str(folder / "source"), folder / name)
        assert_same(load_dataset(str(folder / name)), dataset)
    convert(str(folder / "three-v0"), folder / "five.hdf5")
    assert_same(load_dataset(str(folder / "five.hdf5")), dataset)


@pytest.mark.parametrize("out", OUTPUTS)
def test_the_name_of_the_output_says_where_and_what_it_is(
    out: str, source: str, root: Path
) -> None:
    written = convert(source, out)
    found = load_dataset(out if out != "some/where/out-v0" else "minari:some/where/out-v0")
    assert_same(found, load_dataset(source))
    assert written == Path(out) or written == root / "minari" / out
    assert not [name for name in left_behind(root) if "partial" in name]


def test_minari_reads_what_is_written_for_it(root: Path) -> None:
    log = make_dataset([3, 2], spaces.Discrete(3))
    write_npz(root / "source.npz", log)
    convert("source.npz", "space/log-v2")
    assert list(minari.list_local_datasets()) == ["space/log-v2"]
    dataset = minari.load_dataset("space/log-v2")
    assert (dataset.total_episodes, dataset.total_steps) == (2, 5)
    assert dataset.action_space == spaces.Discrete(3)
    second = dataset[1]
    assert second.observations.shape == (3, 3)  # Minari wants one more than there are actions
    np.testing.assert_array_equal(second.observations[:2], log[1].observations)
    np.testing.assert_array_equal(second.actions, log[1].actions)


def test_minari_makes_the_environment_of_what_is_written_for_it(root: Path) -> None:
    arrays = {"observations": np.zeros((2, 4), np.float32), "actions": np.array([0, 1])}
    ends = {"rewards": np.ones(2), "episode_lengths": np.array([2])}
    kwargs = '{"max_episode_steps": 33}'
    np.savez(root / "source.npz", **arrays, **ends, env_id="CartPole-v1", env_kwargs=kwargs)
    convert("source.npz", "log-v0")
    env = minari.load_dataset("log-v0").recover_environment()
    assert env.spec is not None and env.spec.max_episode_steps == 33
    env.close()


def test_d4rl_s_own_reading_of_what_is_written_for_it_finds_the_same_episodes(
    source: str, root: Path
) -> None:
    """Its `sequence_dataset` takes row i of every key that has no metadata in its name."""
    convert(source, "out.hdf5")
    with h5py.File("out.hdf5") as file:
        arrays: dict[str, Any] = {}

        def visit(key: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset) and "metadata" not in key:
                arrays[key] = item[()]

        file.visititems(visit)
    assert {len(values) for values in arrays.values()} == {5}
    ends = arrays["terminals"] | arrays["timeouts"]
    assert np.flatnonzero(ends).tolist() == [2, 4]


def streamed(*episodes: Episode, count: int | None = None) -> EpisodeStream:
    return EpisodeStream(
        name="streamed",
        observation_space=spaces.Box(0, 255, (2, 2), np.uint8),
        action_space=spaces.Discrete(2),
        episodes=lambda: iter(episodes),
        num_episodes=count,
    )


def frames(length: int, extra: int = 0, reward_type: Any = np.float32) -> Episode:
    rng = np.random.default_rng(length)
    last = np.arange(length) == length - 1
    return Episode(
        observations=rng.integers(0, 256, (length + extra, 2, 2), np.uint8),
        actions=rng.integers(0, 2, length),
        rewards=rng.normal(size=length).astype(reward_type),
        terminations=last,
        truncations=np.zeros(length, bool),
    )


def test_a_stream_is_written_piece_by_piece(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dt.data.streams.PIECE_BYTES", 1)
    stream = streamed(*(frames(n) for n in (3, 1, 4)))
    assert [len(piece) for piece in stream.pieces()] == [1, 1, 1]
    write_d4rl(root / "out", stream)
    assert_same(load_dataset("out"), stream.load())


def test_last_observations_are_kept_of_all_episodes_or_of_none(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dt.data.streams.PIECE_BYTES", 1)
    stream = streamed(frames(3, extra=1), frames(2), frames(4, extra=1))
    assert stream.load().final_observations is None
    write_d4rl(root / "out", stream)
    assert_same(load_dataset("out"), stream.load())


def test_numbers_of_two_types_are_not_made_one_in_silence(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dt.data.streams.PIECE_BYTES", 1)
    with pytest.raises(ValueError, match="rewards are float32 in some episodes and float64"):
        write_d4rl(root / "out", streamed(frames(3), frames(2, reward_type=np.float64)))


def test_pictures_come_back_from_minari_without_loss(root: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(
        root / "source.npz",
        observations=rng.integers(0, 256, (3, 40, 40, 3), np.uint8),
        actions=np.array([0, 1, 1]),
        rewards=np.ones(3),
        episode_lengths=np.array([3]),
    )
    assert load_dataset("source.npz").observation_space == spaces.Box(0, 255, (40, 40, 3), np.uint8)
    convert("source.npz", "log-v0")
    assert_same(load_dataset("log-v0"), load_dataset("source.npz"))


@pytest.mark.parametrize("out", OUTPUTS)
def test_what_is_there_already_stays(out: str, source: str, root: Path) -> None:
    convert(source, out)
    before = left_behind(root)
    with pytest.raises(ValueError, match="already; remove it, or give another name"):
        convert(source, out)
    assert left_behind(root) == before


@pytest.mark.parametrize("out", ["out", "out.csv", "./out", "out-v"])
def test_a_name_that_says_no_format_is_refused(out: str, source: str) -> None:
    with pytest.raises(ValueError, match="says no format; end it in"):
        convert(source, out)


@pytest.mark.parametrize("out", ["no/where/out.npz", "./no/where/out-v0"])
def test_a_folder_that_is_not_there_is_named(out: str, source: str) -> None:
    with pytest.raises(ValueError, match="there is no folder no/where; make it first"):
        convert(source, out)


@pytest.mark.parametrize("out", OUTPUTS)
def test_a_source_that_turns_out_bad_halfway_leaves_nothing(
    out: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = frames(2)
    bad.rewards[1] = np.nan
    stream = streamed(frames(3), bad)
    monkeypatch.setattr("dt.data.formats.convert.open_source", lambda *_: stream)
    monkeypatch.setattr("dt.data.streams.PIECE_BYTES", 1)
    with pytest.raises(ValueError, match="streamed: rewards at episode 1, step 1 is not finite"):
        convert("anything", out)
    assert left_behind(root) == []


@pytest.mark.parametrize("out", OUTPUTS)
@pytest.mark.parametrize("problem", [KeyboardInterrupt(), OSError(errno.ENOSPC, "no room")])
def test_an_interruption_or_a_full_disk_leaves_nothing(
    out: str, problem: BaseException, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def episodes() -> Any:
        yield frames(3)
        raise problem

    stream = streamed()
    object.__setattr__(stream, "episodes", episodes)
    monkeypatch.setattr("dt.data.formats.convert.open_source", lambda *_: stream)
    expected = KeyboardInterrupt if isinstance(problem, KeyboardInterrupt) else ValueError
    with pytest.raises(expected, match="cannot be written.*no room|^$"):
        convert("anything", out)
    assert left_behind(root) == []


@pytest.mark.parametrize("out", OUTPUTS[1:])
def test_hdf5_never_meets_a_full_disk(
    out: str, source: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would end the process, or lose data in silence."""
    before = left_behind(root)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(ValueError, match="out.*: cannot be written .*no room"):
        convert(source, out)
    assert left_behind(root) == before


@pytest.mark.parametrize("out", OUTPUTS[1:])
def test_the_disk_space_that_is_claimed_first_is_enough(
    out: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed, fallocate = [], os.posix_fallocate

    def watch(file: int, offset: int, length: int) -> None:
        claimed.append(length)
        fallocate(file, offset, length)

    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 40, 300)
    log = make_dataset(lengths.tolist())
    write_npz(root / "source.npz", log)
    monkeypatch.setattr("os.posix_fallocate", watch)
    written = convert("source.npz", out)
    file = written / "data" / "main_data.hdf5" if written.is_dir() else written
    assert 0 < file.stat().st_size < max(claimed)


def test_what_a_killed_conversion_left_is_swept_by_the_next(source: str, root: Path) -> None:
    (root / ".out.npz.999999999.partial").write_bytes(b"half")
    (root / ".other.npz.999999999.partial").write_bytes(b"another's")
    convert(source, "out.npz")
    assert left_behind(root) == [".other.npz.999999999.partial", "out.npz", "source.npz"]


def test_arguments_that_json_would_change_are_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make_dataset([2])
    object.__setattr__(log, "env_kwargs", {"frameskip": (2, 5)})
    monkeypatch.setattr("dt.data.formats.convert.open_source", lambda *_: log)
    for out in OUTPUTS:
        with pytest.raises(ValueError, match="would not come back the same from JSON"):
            convert("anything", out)
    assert left_behind(root) == []


def test_an_environment_given_by_hand_is_written(source: str) -> None:
    np.savez(
        "plain.npz",
        observations=np.zeros((2, 4), np.float32),
        actions=np.array([0, 1]),
        rewards=np.ones(2),
        episode_lengths=np.array([2]),
    )
    convert("plain.npz", "named.npz", "CartPole-v1", {"max_episode_steps": 9})
    found = open_source("named.npz")
    assert (found.env_id, found.env_kwargs) == ("CartPole-v1", {"max_episode_steps": 9})
