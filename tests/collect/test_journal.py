"""Is every episode that was appended there again, wherever the process was killed?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dt.collect.journal import Journal
from dt.data.episodes import Episode


def make_episode(number: int) -> Episode:
    num_steps = number + 2
    rng = np.random.default_rng(number)
    ends = np.arange(num_steps) == num_steps - 1
    return Episode(
        rng.integers(0, 255, (num_steps + 1, 2, 2), dtype=np.uint8),
        rng.normal(size=(num_steps, 3)),
        rng.normal(size=num_steps),
        ends,
        ~ends,
    )


def assert_same(one: Episode, other: Episode) -> None:
    for name, array in vars(one).items():
        np.testing.assert_array_equal(array, getattr(other, name))
        assert array.dtype == getattr(other, name).dtype


def write(path: Path, *numbers: int) -> bytes:
    with Journal(path) as journal:
        for number in numbers:
            journal.append(number, make_episode(number))
    return path.read_bytes()


def test_episodes_come_back_in_any_order_by_number(tmp_path: Path) -> None:
    write(tmp_path / "log", 4, 0, 7)
    with Journal(tmp_path / "log") as journal:
        assert len(journal) == 3 and journal.num_steps == 6 + 2 + 9
        assert 7 in journal and 1 not in journal
        journal.append(1, make_episode(1))
        for number in (0, 1, 4, 7):
            assert_same(journal[number], make_episode(number))


def test_a_log_cut_at_any_byte_keeps_the_records_before_and_takes_new_ones(tmp_path: Path) -> None:
    path = tmp_path / "log"
    first = len(write(path, 0))
    whole = write(path, 1)
    for size in {*range(0, first, 97), first - 1, first, first + 1, first + 20, len(whole) - 1}:
        path.write_bytes(whole[:size])
        kept = [0] if size >= first else []
        with Journal(path) as journal:
            assert [n for n in range(3) if n in journal] == kept
            journal.append(2, make_episode(2))
        with Journal(path) as journal:
            assert [n for n in range(3) if n in journal] == [*kept, 2]
            assert_same(journal[2], make_episode(2))


@pytest.mark.parametrize("place", [3, 10, 17, 60, -1])
def test_a_record_whose_bytes_were_changed_is_not_taken(tmp_path: Path, place: int) -> None:
    path = tmp_path / "log"
    first = len(write(path, 5))
    content = bytearray(write(path, 6))
    content[first + place if place > 0 else place] ^= 0x10
    path.write_bytes(bytes(content))
    with Journal(path) as journal:
        assert len(journal) == 1 and 5 in journal


def test_two_processes_do_not_write_into_one_log(tmp_path: Path) -> None:
    with Journal(tmp_path / "log"):
        with pytest.raises(ValueError, match="log: another process is collecting into it"):
            Journal(tmp_path / "log")
    Journal(tmp_path / "log").close()
