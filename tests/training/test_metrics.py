"""Do logged numbers survive a crash and a resumed run, each step once?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dt.training.metrics import MetricWriter
from dt.training.trackers import Record


def steps_of(run_dir: Path) -> list[int]:
    """The steps logged; fails on a line that is no JSON."""
    return [
        json.loads(line)["step"]
        for line in (run_dir / "metrics.jsonl").read_text().split("\n")[:-1]
    ]


def write_steps(run_dir: Path, *steps: int, resume_at: int | None = None) -> None:
    writer = MetricWriter(run_dir, resume_at)
    for step in steps:
        writer.write(step, {"loss": step / 10})
    writer.close()


def test_a_line_holds_the_step_and_every_value(tmp_path: Path) -> None:
    writer = MetricWriter(tmp_path)
    writer.write(100, {"loss": 0.25, "grad_norm": 2.0})
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()  # before it is closed
    writer.close()
    values = json.loads(line)
    assert values.pop("time") > 0
    assert values == {"step": 100, "loss": 0.25, "grad_norm": 2.0}


def test_another_writer_appends(tmp_path: Path) -> None:
    write_steps(tmp_path, 1, 2)
    write_steps(tmp_path, 3)
    assert steps_of(tmp_path) == [1, 2, 3]


def test_resuming_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    write_steps(tmp_path, 100, 200, 300, 400)
    write_steps(tmp_path, 300, resume_at=200)
    assert steps_of(tmp_path) == [100, 200, 300]


@pytest.mark.parametrize("cut", ['{"step": 250, "lo', "{", "", '{"loss": 1.0}', "\0\0\0"])
def test_resuming_drops_a_line_that_a_crash_cut_off(tmp_path: Path, cut: str) -> None:
    write_steps(tmp_path, 100, 200)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(cut)
    write_steps(tmp_path, 300, resume_at=250)
    assert steps_of(tmp_path) == [100, 200, 300]


def test_resuming_without_an_earlier_log_starts_one(tmp_path: Path) -> None:
    write_steps(tmp_path, 300, resume_at=200)
    assert steps_of(tmp_path) == [300]


def test_tensorboard_gets_an_event_file(tmp_path: Path) -> None:
    write_steps(tmp_path, 1)
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"loss" in events.read_bytes()


class Kept:
    """A tracker of one's own."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.closed = False

    def write(self, record: Record) -> None:
        self.records.append(record)

    def close(self) -> None:
        self.closed = True


def test_another_tracker_is_given_all_that_is_logged(tmp_path: Path) -> None:
    kept = Kept()
    picture = tmp_path / "cards" / "a.png"
    picture.parent.mkdir()
    picture.write_bytes(b"\x89PNG")
    writer = MetricWriter(tmp_path, trackers=(kept,))
    writer.write(7, {"loss": 0.5}, {"card": "cards/a.json"}, {"picture": picture})
    writer.close()
    (record,) = kept.records
    assert (record.step, record.values, record.texts) == (
        7,
        {"loss": 0.5},
        {"card": "cards/a.json"},
    )
    assert record.pictures == {"picture": picture} and kept.closed
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line.pop("time") == round(record.time, 3)
    assert line == {
        "step": 7,
        "loss": 0.5,
        "card": "cards/a.json",
        "picture": "cards/a.png",
    }


def test_a_clock_that_stands_or_goes_back_loses_no_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorBoard reads the files in the order of their names, which hold the time."""
    for step, now in enumerate([2e9, 2e9, 1e9, 5e8]):
        monkeypatch.setattr("time.time", lambda now=now: now)
        write_steps(tmp_path, step, resume_at=step if step else None)
    files = sorted((tmp_path / "tensorboard").iterdir())
    assert len(files) == 4 and steps_of(tmp_path) == [0, 1, 2, 3]
    assert [f"events.part-{part:04}.out" in file.name for part, file in enumerate(files)][1:] == [
        True
    ] * 3
