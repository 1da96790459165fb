"""Are the DQN replay data set's shards read as episodes, and never a whole shard at once?"""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from random_logs import assert_same_steps

from dt.data import Episode
from dt.data.formats.dqn_replay import PADDING, read_dqn_replay
from dt.data.formats.sources import open_source, source_files


def save(path: Path, array: np.ndarray) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        np.save(file, array, allow_pickle=False)


def write(folder: Path, number: int, **arrays: np.ndarray) -> None:
    """As Dopamine's checkpoints, which is how the data set was logged."""
    folder.mkdir(exist_ok=True)
    for field, values in arrays.items():
        prefix = "" if field == "add_count" else "$store$_"
        save(folder / f"{prefix}{field}_ckpt.{number}.gz", values)


def make_shard(*lengths: int, terminals: bool = True, size: int = 4) -> dict[str, np.ndarray]:
    """Frames count up from 1; the last episode is cut off where `terminals` is False."""
    count = sum(lengths)
    frames = np.arange(1, count + 1, dtype=np.uint8)
    ends = np.isin(np.arange(count), np.cumsum(lengths) - 1)
    ends[-1] = terminals
    return {
        "observation": np.broadcast_to(frames[:, None, None], (count, size, size)).copy(),
        "action": (np.arange(count) % 3).astype(np.int32),
        "reward": np.ones(count, np.float32),
        "terminal": ends.astype(np.uint8),
    }


@st.composite
def shards(draw: st.DrawFn) -> list[tuple[list[Episode], int]]:
    """Whole and cut-off episodes of each shard, and zero rows that the buffer never filled."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    made = []
    for _ in range(draw(st.integers(1, 3))):
        lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
        cut = draw(st.booleans())
        logged = []
        for number, length in enumerate(lengths):
            is_cut = cut and number == len(lengths) - 1
            length += is_cut * PADDING  # a tail of padding's length would be left out
            last = np.arange(length) == length - 1
            logged.append(
                Episode(
                    observations=rng.integers(1, 256, (length, 3, 3), np.uint8),
                    actions=rng.integers(0, 18, length).astype(np.int32),
                    rewards=rng.normal(size=length).astype(np.float32),
                    terminations=last & (not is_cut),
                    truncations=last & is_cut,
                )
            )
        made.append((logged, draw(st.integers(0, 3))))
    return made


@settings(deadline=None, max_examples=25)
@given(shards(), st.booleans())
def test_random_shards_come_back_without_padding_and_stale_rows(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[tuple[list[Episode], int]],
    padded: bool,
) -> None:
    folder = tmp_path_factory.mktemp("dqn")
    for number, (logged, stale) in enumerate(drawn):
        arrays: dict[str, list[np.ndarray]] = {}
        for e in logged:
            fields = (e.observations, e.actions, e.rewards, e.terminations.astype(np.uint8))
            for field, values in zip(
                ("observation", "action", "reward", "terminal"), fields, strict=True
            ):
                zeros = np.zeros((PADDING * padded, *values.shape[1:]), values.dtype)
                arrays.setdefault(field, []).extend([zeros, values])
        flat = {field: np.concatenate(values) for field, values in arrays.items()}
        count = len(flat["reward"])
        # The buffer is a ring: what stands behind the cursor is of the round before.
        full = {
            field: np.concatenate([values, np.full((stale, *values.shape[1:]), 1, values.dtype)])
            for field, values in flat.items()
        }
        write(folder, number, **full, add_count=np.array(7 * (count + stale) + count))
    stream = read_dqn_replay(folder)
    expected = [e for logged, _ in drawn for e in logged]
    assert_same_steps(stream, expected)
    assert_same_steps(stream, expected)  # each pass starts anew
    assert stream.num_episodes == len(expected)


def test_shards_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number, length in ((10, 3), (9, 2), (0, 1)):
        write(tmp_path, number, **make_shard(length))
    assert [len(e) for e in read_dqn_replay(tmp_path)] == [1, 2, 3]


def test_an_episode_is_cut_at_the_shard_s_end_and_not_joined(tmp_path: Path) -> None:
    write(tmp_path, 0, **make_shard(2, 5, terminals=False))
    write(tmp_path, 1, **make_shard(4))
    kept = list(read_dqn_replay(tmp_path))
    assert [len(e) for e in kept] == [2, 5, 4]
    assert [bool(e.truncations[-1]) for e in kept] == [False, True, False]
    assert [bool(e.terminations[-1]) for e in kept] == [True, False, True]


@pytest.mark.parametrize("tail", range(PADDING + 2))
def test_a_tail_that_may_be_padding_is_left_out(tmp_path: Path, tail: int) -> None:
    arrays = make_shard(4, tail, terminals=False) if tail else make_shard(4)
    write(tmp_path, 0, **arrays)
    stream = read_dqn_replay(tmp_path)
    lengths = [4] + [tail] * (tail > PADDING)
    assert [len(e) for e in stream] == lengths
    assert stream.num_episodes == len(lengths)


def test_no_more_rows_of_zeros_are_taken_for_padding_than_dopamine_writes(tmp_path: Path) -> None:
    arrays = make_shard(6)
    for field in ("observation", "action", "reward"):
        arrays[field][:5] = 0
    write(tmp_path, 0, **arrays)
    assert [len(e) for e in read_dqn_replay(tmp_path)] == [6 - PADDING]


@pytest.mark.parametrize("field", ["observation", "action", "reward"])
def test_a_row_that_is_not_all_zeros_is_a_step(tmp_path: Path, field: str) -> None:
    arrays = make_shard(4)
    for other in {"observation", "action", "reward"} - {field}:
        arrays[other][:3] = 0
    arrays[field][:3] = 1
    write(tmp_path, 0, **arrays)
    assert [len(e) for e in read_dqn_replay(tmp_path)] == [4]


def test_frames_are_bytes_and_actions_discrete(tmp_path: Path) -> None:
    write(tmp_path, 0, **make_shard(4, size=84))
    write(tmp_path, 1, **{**make_shard(2, size=84), "action": np.array([17, 0], np.int32)})
    stream = read_dqn_replay(tmp_path)
    assert stream.observation_space == spaces.Box(0, 255, (84, 84), np.uint8)
    assert stream.action_space == spaces.Discrete(18)
    assert stream.load().observations.dtype == np.uint8


def test_the_action_space_is_the_environment_s_where_one_is_named(tmp_path: Path) -> None:
    write(tmp_path, 0, **{**make_shard(3), "action": np.zeros(3, np.int32)})
    stream = read_dqn_replay(tmp_path, "CartPole-v1")
    assert (stream.action_space, stream.env_id) == (spaces.Discrete(2), "CartPole-v1")


def test_an_action_that_the_environment_lacks_names_episode_and_step(tmp_path: Path) -> None:
    write(tmp_path, 0, **make_shard(2, 3))
    stream = read_dqn_replay(tmp_path, "CartPole-v1")
    with pytest.raises(ValueError, match="actions at episode 1, step 0 is 2, outside Discrete"):
        list(stream)


def test_a_shard_is_unpacked_episode_by_episode(tmp_path: Path) -> None:
    lengths = [20] * 60
    arrays = make_shard(*lengths, size=84)
    whole = arrays["observation"].nbytes  # 8.5 MB
    write(tmp_path, 0, **arrays)
    del arrays
    stream = read_dqn_replay(tmp_path)
    tracemalloc.start()
    count = sum(1 for _ in stream)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == len(lengths)
    assert peak < whole / 6


def test_a_file_of_a_shard_names_the_shard(tmp_path: Path) -> None:
    write(tmp_path, 0, **make_shard(2))
    write(tmp_path, 1, **make_shard(3))
    stream = open_source(str(tmp_path / "$store$_action_ckpt.1.gz"))
    assert [len(e) for e in stream] == [3]
    assert len(source_files(str(tmp_path))) == 8


def test_a_glob_of_files_names_each_shard_once(tmp_path: Path) -> None:
    write(tmp_path, 0, **make_shard(2))
    write(tmp_path, 1, **make_shard(3))
    stream = open_source(str(tmp_path / "$store$_*.gz"))
    assert [len(e) for e in stream] == [2, 3]
    assert stream.action_space == spaces.Discrete(3)  # the widest of both


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    write(tmp_path, 0, **make_shard(2))
    (tmp_path / "$store$_reward_ckpt.0.gz").unlink()
    with pytest.raises(ValueError, match=r"reward_ckpt\.0\.gz: is missing; fetch the whole shard"):
        read_dqn_replay(tmp_path)


@pytest.mark.parametrize("field", ["action", "reward", "terminal"])
def test_arrays_of_two_lengths_are_refused(tmp_path: Path, field: str) -> None:
    arrays = make_shard(4)
    arrays[field] = arrays[field][:3]
    write(tmp_path, 0, **arrays)
    with pytest.raises(ValueError, match=rf"{field}_ckpt\.0\.gz: holds .* needs 4 numbers"):
        read_dqn_replay(tmp_path)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("observation", np.zeros((4, 3, 3), np.float32)),
        ("observation", np.zeros(4, np.uint8)),
        ("action", np.zeros(4, np.float32)),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path: Path, field: str, values: Any) -> None:
    write(tmp_path, 0, **{**make_shard(4), field: values})
    with pytest.raises(ValueError, match=rf"{field}_ckpt\.0\.gz: .*(needs bytes|give integers)"):
        read_dqn_replay(tmp_path)


def test_frames_of_two_sizes_are_refused(tmp_path: Path) -> None:
    write(tmp_path, 0, **make_shard(2))
    write(tmp_path, 1, **make_shard(2, size=5))
    with pytest.raises(ValueError, match=r"observation_ckpt\.1\.gz: has frames of shape \(5, 5\)"):
        read_dqn_replay(tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.7])
def test_an_archive_cut_short_is_refused_when_it_is_reached(tmp_path: Path, share: float) -> None:
    arrays = make_shard(50, 50)
    arrays["observation"] = np.random.default_rng(0).integers(1, 256, (100, 4, 4), np.uint8)
    write(tmp_path, 0, **arrays)
    path = tmp_path / "$store$_observation_ckpt.0.gz"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"observation_ckpt\.0\.gz: (is cut short|not a gzipped)"):
        list(read_dqn_replay(tmp_path))


def test_what_is_no_array_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 0, **make_shard(2))
    with gzip.open(tmp_path / "$store$_terminal_ckpt.0.gz", "wb") as file:
        file.write(b"words")
    with pytest.raises(ValueError, match=r"terminal_ckpt\.0\.gz: not a gzipped NumPy array"):
        read_dqn_replay(tmp_path)
    (tmp_path / "$store$_terminal_ckpt.0.gz").write_bytes(b"words")
    with pytest.raises(ValueError, match=r"terminal_ckpt\.0\.gz: not a gzipped NumPy array"):
        read_dqn_replay(tmp_path)


def test_an_array_of_objects_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 0, **make_shard(2))
    with gzip.open(tmp_path / "$store$_reward_ckpt.0.gz", "wb") as file:
        np.save(file, np.array([1, None], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"reward_ckpt\.0\.gz: is no plain array"):
        read_dqn_replay(tmp_path)


def test_shards_without_an_episode_are_refused(tmp_path: Path) -> None:
    arrays = {field: values[:0] for field, values in make_shard(1).items()}
    write(tmp_path, 0, **arrays, add_count=np.array(0))
    with pytest.raises(ValueError, match="holds no episode"):
        list(read_dqn_replay(tmp_path))


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    for name in ("log", "other"):
        write(tmp_path / name, 0, **make_shard(3, 2))
    file = tmp_path / "log" / "$store$_reward_ckpt.0.gz"
    file.unlink()
    file.symlink_to(tmp_path / "other" / file.name)
    with pytest.raises(ValueError, match="is a link to .*other.*, outside of .*log"):
        open_source(str(tmp_path / "log"))


def test_more_rows_than_gzip_can_pack_are_refused_before_they_take_memory(tmp_path: Path) -> None:
    write(tmp_path, 0, **make_shard(3, 2))
    for field in ("observation", "reward"):
        path = tmp_path / f"$store$_{field}_ckpt.0.gz"
        with gzip.open(path, "wb") as file:
            shape = (10**12, 4, 4) if field == "observation" else (10**12,)
            described = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, described)
        with pytest.raises(ValueError, match=rf"{field}_ckpt.0.gz: declares .* than gzip can hold"):
            read_dqn_replay(tmp_path)
        write(tmp_path, 0, **{field: make_shard(3, 2)[field]})
