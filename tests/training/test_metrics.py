"""Do logged numbers survive a crash and a resumed run, each step once?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dt.training.metrics import MetricWriter


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
