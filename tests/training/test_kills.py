"""What does a run lose that is killed, told to stop, given a full disk, or run twice?"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from training_process import CONTINUOUS, PROBLEMS, Trainer

from dt.checkpoint.manifest import complete_steps, verify
from dt.checkpoint.save import Checkpointer
from dt.config import TrainConfig
from dt.spec.spec import PolicySpec
from dt.training.run_directory import locked
from dt.training.step import Learner


@pytest.fixture(scope="module")
def trainer() -> Iterator[Trainer]:
    trainer = Trainer()
    yield trainer
    trainer.close()


TIMES = {"time", "updates_per_second"}  # of which no two runs have the same


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "kills", "survived"),
    [
        (CONTINUOUS, 1, 0),
        *(pytest.param(name, 20, 6, marks=pytest.mark.thorough) for name in PROBLEMS),
    ],
)
def test_kills_at_random_moments_change_not_one_bit(
    tmp_path: Path, trainer: Trainer, problem: str, kills: int, survived: int
) -> None:
    """Parameters, the optimizer's state and the log are those of a run that nothing ended."""
    # Lines end where checkpoints do: with one each update, the two logs have the same lines.
    job = {"problem": problem, "num_steps": 60, "log_interval": 1}
    expected = trainer.do({**job, "run_dir": str(tmp_path / "a"), "checkpoint_interval": 60})
    broken = {**job, "run_dir": str(tmp_path / "b"), "checkpoint_interval": 1}
    checkpoints = tmp_path / "b" / "checkpoints"
    rng, last, begun = random.Random(0), 0, 0
    for attempt in range(kills):
        pid = trainer.begin({**broken, "resume": attempt > 0})
        if attempt % 5 != 4:  # else while it starts, restores or removes what the last one left
            begun = trainer.answer("training")
            assert begun >= last  # nothing that was complete is lost
        time.sleep(rng.uniform(0, 1.2))
        os.kill(pid, signal.SIGKILL)
        assert trainer.answer("code") == -signal.SIGKILL
        steps = complete_steps(checkpoints)
        last = max([last, *steps])
        for step in steps[-1:]:
            verify(checkpoints / str(step))
    assert survived <= begun < 60
    ended = trainer.do({**broken, "resume": True, "checkpoint_interval": 60})
    parameters, optimizer = expected["parts"]
    assert ended["parts"] == [parameters, optimizer]
    assert all(name.isdigit() for name in os.listdir(checkpoints))  # no leftovers
    logs = [logged(tmp_path / run / "metrics.jsonl") for run in "ab"]
    assert [line["step"] for line in logs[0]] == list(range(1, 61))
    assert logs[0] == logs[1]


def logged(path: Path) -> list[dict[str, float]]:
    """Read the lines of a log without what a clock measured."""
    lines = map(json.loads, path.read_text().splitlines())
    return [{name: line[name] for name in line.keys() - TIMES} for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_answered_within_ten_seconds(
    tmp_path: Path, trainer: Trainer, number: signal.Signals
) -> None:
    job = {"run_dir": str(tmp_path / "run"), "num_steps": 10**6, "log_interval": 10**5}
    pid = trainer.begin({**job, "checkpoint_interval": 10**6})
    trainer.answer("training")
    time.sleep(0.5)
    begin = time.monotonic()
    os.kill(pid, number)
    assert "saved; --resume continues" in trainer.answer("stopped")
    assert trainer.answer("code") == 130
    assert time.monotonic() - begin < 10
    (step,) = complete_steps(tmp_path / "run" / "checkpoints")
    assert step > 0
    verify(tmp_path / "run" / "checkpoints" / str(step))


@pytest.mark.slow
def test_files_that_take_no_more_stop_the_run_and_keep_what_is_saved(
    tmp_path: Path, trainer: Trainer
) -> None:
    job = {"run_dir": str(tmp_path / "run"), "num_steps": 8, "keep_checkpoints": 1}
    trainer.begin({**job, "full_at": 6})
    error = trainer.answer("error")
    assert len(error.splitlines()) == 1 and trainer.answer("code") == 2
    assert "checkpoints/4: not saved: " in error and "update 2 is the last that is saved" in error
    assert complete_steps(tmp_path / "run" / "checkpoints") == [2]
    unbroken = trainer.do({**job, "run_dir": str(tmp_path / "unbroken")})
    assert trainer.do({**job, "resume": True})["digest"] == unbroken["digest"]
    assert os.listdir(tmp_path / "run" / "checkpoints") == ["8"]  # what was half written is gone


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(words, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_keeps_what_is_saved(
    small_disk: Path, trainer: Trainer
) -> None:
    job = {"run_dir": str(small_disk / "run"), "num_steps": 100, "keep_checkpoints": 100}
    trainer.begin(job)
    error = trainer.answer("error")
    assert len(error.splitlines()) == 1 and trainer.answer("code") == 2
    assert "No space left on device" in error
    steps = complete_steps(small_disk / "run" / "checkpoints")
    assert len(steps) >= 2
    for step in steps:
        verify(small_disk / "run" / "checkpoints" / str(step))


@pytest.mark.slow
def test_a_second_process_on_a_run_is_refused(tmp_path: Path, trainer: Trainer) -> None:
    job = {"run_dir": str(tmp_path)}
    with locked(tmp_path):
        trainer.begin(job)
        error = trainer.answer("error")
        assert f"process {os.getpid()} on " in error and "is training into it" in error
        assert trainer.answer("code") == 2
    assert trainer.do(job)["step"] == 6


def test_fifty_flipped_bits_are_found(
    tmp_path: Path, tiny_spec: PolicySpec, tiny_config: TrainConfig
) -> None:
    learner = Learner(tiny_spec, tiny_config)
    checkpointer = Checkpointer(tmp_path, tiny_spec, 2)
    checkpointer.save(learner.init(), 0.125)
    checkpointer.wait()
    folder = tmp_path / "checkpoints" / "0"
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    assert folder / "manifest.json" in files and folder / "spec.json" in files
    rng = random.Random(0)
    for flip in range(50):
        path = files[flip % len(files)]
        content = path.read_bytes()
        place, bit = rng.randrange(len(content)), 1 << rng.randrange(8)
        damaged = bytearray(content)
        damaged[place] ^= bit
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{path.name} is not as it was written"):
            verify(folder)
        path.write_bytes(content)
    verify(folder)
