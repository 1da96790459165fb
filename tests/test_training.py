"""Does a run, however it was cut, end with the same weights; are mix-ups refused?"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from dt.checkpoint import complete_steps
from dt.config import TrainConfig
from dt.data import EpisodeDataset, TrainingData
from dt.learner import TrainState
from dt.spec import PolicySpec
from dt.training import open_run, train, write_config


def run(
    spec: PolicySpec, dataset: EpisodeDataset, config: TrainConfig, run_dir: Path, **options: object
) -> TrainState:
    run_dir.mkdir(exist_ok=True)
    return train(spec, TrainingData.of(dataset), config, run_dir, **options)  # type: ignore[arg-type]


def assert_equal(a: TrainState, b: TrainState) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_resumed_equals_an_unbroken_one(
    tmp_path: Path,
    tiny_spec: PolicySpec,
    tiny_dataset: EpisodeDataset,
    tiny_config: TrainConfig,
    number: signal.Signals,
) -> None:
    unbroken = run(tiny_spec, tiny_dataset, tiny_config, tmp_path / "unbroken")

    def interrupt(step: int, metrics: dict[str, float]) -> None:
        if step == 4:
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt, match="stopped at update 4 of 6, saved"):
        run(tiny_spec, tiny_dataset, tiny_config, tmp_path / "broken", on_round=interrupt)
    resuming = dataclasses.replace(tiny_config, resume=True, checkpoint_interval=5)
    resumed = run(tiny_spec, tiny_dataset, resuming, tmp_path / "broken")
    assert_equal(unbroken, resumed)
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "broken" / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == [2, 4, 5, 6]


def test_where_saves_fall_changes_nothing(
    tmp_path: Path, tiny_spec: PolicySpec, tiny_dataset: EpisodeDataset, tiny_config: TrainConfig
) -> None:
    other = dataclasses.replace(tiny_config, checkpoint_interval=3)
    assert_equal(
        run(tiny_spec, tiny_dataset, tiny_config, tmp_path / "a"),
        run(tiny_spec, tiny_dataset, other, tmp_path / "b"),
    )


def test_the_seed_decides(
    tmp_path: Path, tiny_spec: PolicySpec, tiny_dataset: EpisodeDataset, tiny_config: TrainConfig
) -> None:
    other = dataclasses.replace(tiny_config, seed=1)
    a = run(tiny_spec, tiny_dataset, tiny_config, tmp_path / "a")
    b = run(tiny_spec, tiny_dataset, other, tmp_path / "b")
    assert any((x != y).any() for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def test_cards_in_training_choose_the_best_checkpoint(
    tmp_path: Path, tiny_spec: PolicySpec, tiny_dataset: EpisodeDataset, tiny_config: TrainConfig
) -> None:
    evaluation = dataclasses.replace(tiny_config.evaluation, interval=2)
    config = dataclasses.replace(tiny_config, evaluation=evaluation, keep_checkpoints=1)
    errors = {2: 0.4, 4: 0.1, 6: 0.3}
    run(tiny_spec, tiny_dataset, config, tmp_path, measure=lambda state: errors[int(state.step)])
    assert complete_steps(tmp_path / "checkpoints") == [4, 6]


def test_a_loss_that_is_no_number_stops_before_it_is_saved(
    tmp_path: Path, tiny_spec: PolicySpec, tiny_dataset: EpisodeDataset, tiny_config: TrainConfig
) -> None:
    nowhere = dataclasses.replace(tiny_spec.return_normalizer, scale=np.array(np.nan, np.float32))
    broken = dataclasses.replace(tiny_spec, return_normalizer=nowhere)
    with pytest.raises(ValueError, match="loss nan, gradient nan in the updates up to 2"):
        run(broken, tiny_dataset, tiny_config, tmp_path)
    assert complete_steps(tmp_path / "checkpoints") == []


def test_a_taken_directory_and_a_different_model_are_refused(
    tmp_path: Path,
    tiny_spec: PolicySpec,
    tiny_dataset: EpisodeDataset,
    tiny_config: TrainConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = dataclasses.replace(tiny_config, run_dir=str(tmp_path / "run"), num_steps=2)
    resuming = dataclasses.replace(config, resume=True)
    with pytest.raises(ValueError, match="no run to resume"):
        open_run("cartpole", resuming)
    write_config(open_run("cartpole", config), "cartpole", config)
    open_run("cartpole", config)  # nothing was trained yet: beginning again loses nothing
    run(tiny_spec, tiny_dataset, config, tmp_path / "run")
    with pytest.raises(ValueError, match="already holds a run"):
        open_run("cartpole", config)
    assert open_run("cartpole", resuming) == tmp_path / "run"
    wider = dataclasses.replace(resuming.model, width=16)
    with pytest.raises(ValueError, match="--resume with model.width 16.*trained with 8"):
        open_run("cartpole", dataclasses.replace(resuming, model=wider))
    open_run("cartpole", dataclasses.replace(resuming, checkpoint_interval=7))

    monkeypatch.chdir(tmp_path)
    unnamed = dataclasses.replace(config, run_dir="")
    for name in ("cartpole", "cartpole-2"):
        run_dir = open_run("cartpole", unnamed)
        assert run_dir == Path("runs") / name
        write_config(run_dir, "cartpole", unnamed)
    again = dataclasses.replace(unnamed, resume=True)
    assert open_run("cartpole", again) == Path("runs/cartpole-2")
