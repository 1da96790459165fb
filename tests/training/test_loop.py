"""A run, however it was cut, ends with the same weights; mix-ups are refused."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import dt.training.rounds
from dt.checkpoint.manifest import complete_steps
from dt.checkpoint.state import TrainState
from dt.config import TrainConfig
from dt.data import EpisodeDataset, TrainingData
from dt.data.batches.windows import draw_windows, gather
from dt.spec.spec import PolicySpec
from dt.training.hooks import Evaluation, Hooks, Measure
from dt.training.loop import train
from dt.training.optimizer import make_schedule
from dt.training.run import fit, prepare
from dt.training.run_directory import locked, open_run, recorded, write_config
from dt.training.step import Learner


def run(
    spec: PolicySpec,
    dataset: EpisodeDataset,
    config: TrainConfig,
    run_dir: Path,
    measure: Measure | None = None,
    **hooks: Any,
) -> TrainState:
    run_dir.mkdir(exist_ok=True)
    data = TrainingData.of(dataset)
    return train(spec, data, config, run_dir, hooks=Hooks(**hooks), measure=measure)


def assert_equal(a: TrainState, b: TrainState) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "clock_goes_back"), [(signal.SIGINT, False), (signal.SIGTERM, True)]
)
def test_an_interrupted_run_resumed_equals_an_unbroken_one(
    tmp_path: Path,
    tiny_spec: PolicySpec,
    tiny_dataset: EpisodeDataset,
    tiny_config: TrainConfig,
    number: signal.Signals,
    clock_goes_back: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if clock_goes_back:  # by an hour whenever it is looked at
        clock = itertools.count(2e9, -3600)
        monkeypatch.setattr("time.time", lambda: next(clock))
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
    assert complete_steps(tmp_path / "broken" / "checkpoints")[-1] == 6


@pytest.mark.slow
def test_where_saves_fall_changes_nothing(
    tmp_path: Path, tiny_spec: PolicySpec, tiny_dataset: EpisodeDataset, tiny_config: TrainConfig
) -> None:
    other = dataclasses.replace(tiny_config, checkpoint_interval=3)
    assert_equal(
        run(tiny_spec, tiny_dataset, tiny_config, tmp_path / "a"),
        run(tiny_spec, tiny_dataset, other, tmp_path / "b"),
    )


@pytest.mark.slow
def test_the_seed_decides(
    tmp_path: Path, tiny_spec: PolicySpec, tiny_dataset: EpisodeDataset, tiny_config: TrainConfig
) -> None:
    other = dataclasses.replace(tiny_config, seed=1)
    a = run(tiny_spec, tiny_dataset, tiny_config, tmp_path / "a")
    b = run(tiny_spec, tiny_dataset, other, tmp_path / "b")
    assert any((x != y).any() for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


@pytest.mark.slow
def test_cards_in_training_choose_the_best_checkpoint(
    tmp_path: Path, tiny_spec: PolicySpec, tiny_dataset: EpisodeDataset, tiny_config: TrainConfig
) -> None:
    evaluation = dataclasses.replace(tiny_config.evaluation, interval=2)
    config = dataclasses.replace(tiny_config, evaluation=evaluation, keep_checkpoints=1)
    errors = {2: 0.4, 4: 0.1, 6: 0.3}

    def measure(state: TrainState) -> Evaluation:
        error = errors[int(state.step)]
        return Evaluation(error, {"evaluation/error_over_range": error}, summary="all is well")

    said: list[str] = []
    told: list[tuple[int, float | None]] = []
    run(
        tiny_spec,
        tiny_dataset,
        config,
        tmp_path,
        measure=measure,
        on_message=said.append,
        on_evaluation=lambda done, evaluation: told.append((done, evaluation.error)),
    )
    assert complete_steps(tmp_path / "checkpoints") == [4, 6]
    assert told == [*errors.items()] and said == [f"update {n}: all is well" for n in errors]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 2, 4, 4, 6, 6]  # the round's, and the card's
    assert [line["evaluation/error_over_range"] for line in lines[1::2]] == [*errors.values()]


def spoiled(dataset: EpisodeDataset, row: int) -> EpisodeDataset:
    """One action that is a number, but whose squares are none."""
    actions = dataset.actions.copy()
    actions[row] = 3e38
    return dataclasses.replace(dataset, actions=actions)


def updates_that_see(row: int, dataset: EpisodeDataset, config: TrainConfig) -> list[int]:
    num_steps = config.model.context_length * config.data.windows_per_segment
    found = []
    for step in range(config.num_steps):
        rows = range(config.data.num_segments)
        windows = draw_windows(dataset.offsets, num_steps, config.seed, step, rows)
        if ((windows.start <= row) & (row < windows.start + windows.length)).any():
            found.append(step)
    return found


@pytest.fixture
def long_dataset(tiny_dataset: EpisodeDataset) -> EpisodeDataset:
    """Long enough that most batches do not see a given step."""
    count = 400
    rng = np.random.default_rng(0)
    ends = np.zeros(count, bool)
    ends[-1] = True
    return dataclasses.replace(
        tiny_dataset,
        observations=rng.normal(size=(count, 3)).astype(np.float32),
        actions=rng.uniform(-2, 2, (count, 2)).astype(np.float32),
        rewards=rng.uniform(0, 1, count).astype(np.float32),
        terminations=ends,
        truncations=np.zeros(count, bool),
        offsets=np.array([0, count]),
    )


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_and_names_its_batch(
    tmp_path: Path, tiny_spec: PolicySpec, long_dataset: EpisodeDataset, tiny_config: TrainConfig
) -> None:
    config = dataclasses.replace(tiny_config, num_steps=40, log_interval=8, checkpoint_interval=8)
    seen = {row: updates_that_see(row, long_dataset, config) for row in range(0, 400, 10)}
    # Something is saved before it, and it is not alone.
    row = next(row for row, updates in seen.items() if len(updates) > 1 and updates[0] >= 8)
    first, *others = seen[row]
    with pytest.raises(ValueError) as caught:
        run(tiny_spec, spoiled(long_dataset, row), config, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"update {first + 1}: loss nan") and "\n" not in message
    assert f"seed 0, step {first}, windows (episode@timestep) 0@" in message
    assert "--on-nonfinite skip" in message
    assert complete_steps(tmp_path / "checkpoints")[-1] == first - first % 8

    # What is left out on the way on is what sees the step, and nothing else.
    skipping = dataclasses.replace(config, resume=True, on_nonfinite="skip")
    said: list[str] = []
    state = run(tiny_spec, spoiled(long_dataset, row), skipping, tmp_path, on_message=said.append)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert sum(line["skipped"] for line in lines) == len([first, *others])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    assert int(state.step) == 40 and f"update {first + 1}: loss nan" in said[0]


@pytest.mark.slow
def test_an_update_left_out_changes_nothing_but_the_count(
    tiny_spec: PolicySpec, tiny_dataset: EpisodeDataset, tiny_config: TrainConfig
) -> None:
    learner = Learner(tiny_spec, tiny_config)
    state = learner.init()
    data = TrainingData.of(spoiled(tiny_dataset, 0))
    windows = draw_windows(data.offsets, learner.num_steps_of_window, 0, 0, range(8))
    assert (windows.start == 0).any()
    batch = gather(tiny_spec.codec.encode(data.rows), windows, learner.num_steps_of_window)
    after, metrics = jax.jit(learner.train_step)(state, batch)
    assert metrics["skipped"] == 1 and not np.isfinite(metrics["loss"])
    assert_equal(after, state._replace(step=state.step + 1))


def test_damage_everywhere_is_not_skipped(
    tmp_path: Path, tiny_spec: PolicySpec, tiny_dataset: EpisodeDataset, tiny_config: TrainConfig
) -> None:
    nowhere = dataclasses.replace(tiny_spec.return_normalizer, scale=np.array(np.nan, np.float32))
    broken = dataclasses.replace(tiny_spec, return_normalizer=nowhere)
    skipping = dataclasses.replace(tiny_config, on_nonfinite="skip")
    with pytest.raises(ValueError, match="update [12]: loss nan.*none of the last 2 updates"):
        run(broken, tiny_dataset, skipping, tmp_path, on_message=lambda line: None)
    assert complete_steps(tmp_path / "checkpoints") == []


@pytest.mark.slow
def test_how_many_updates_a_call_runs_changes_nothing(
    tmp_path: Path,
    tiny_spec: PolicySpec,
    tiny_dataset: EpisodeDataset,
    tiny_config: TrainConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = dataclasses.replace(tiny_config, log_interval=3)
    calls = []
    losses: list[list[float]] = []
    for seconds in (0.0, 1e9):  # one update a call, and as many as there are
        monkeypatch.setattr(dt.training.rounds, "CALL_SECONDS", seconds)
        losses.append([])
        calls.append(
            run(
                tiny_spec,
                tiny_dataset,
                config,
                tmp_path / str(seconds),
                on_round=lambda step, means: losses[-1].append(means["loss"]),
            )
        )
    assert_equal(*calls)
    np.testing.assert_allclose(*losses, rtol=1e-6)


@pytest.mark.slow
def test_a_signal_does_not_wait_for_a_score_card(
    tmp_path: Path, tiny_spec: PolicySpec, tiny_dataset: EpisodeDataset, tiny_config: TrainConfig
) -> None:
    evaluation = dataclasses.replace(tiny_config.evaluation, interval=4)
    config = dataclasses.replace(tiny_config, evaluation=evaluation)

    def measure(state: TrainState) -> Evaluation:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the card went on")

    with pytest.raises(KeyboardInterrupt, match="stopped at update 4 of 6, saved; --resume"):
        run(tiny_spec, tiny_dataset, config, tmp_path, measure=measure)
    assert complete_steps(tmp_path / "checkpoints")[-1] == 4


@pytest.mark.slow
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
    older = json.loads((tmp_path / "run" / "config.json").read_text())
    del older["mesh"], older["on_nonfinite"], older["model"]["dropout"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(older))
    open_run("cartpole", resuming)  # what it does not know was at its default

    monkeypatch.chdir(tmp_path)
    unnamed = dataclasses.replace(config, run_dir="")
    for name in ("cartpole", "cartpole-2"):
        run_dir = open_run("cartpole", unnamed)
        assert run_dir == Path("runs") / name
        write_config(run_dir, "cartpole", unnamed)
    again = dataclasses.replace(unnamed, resume=True)
    assert open_run("cartpole", again) == Path("runs/cartpole-2")


def test_a_lock_is_let_go(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path):
            with pytest.raises(ValueError, match=f"process {os.getpid()} on .* is training into"):
                with locked(tmp_path):
                    raise AssertionError("two hold the lock")


@pytest.mark.slow
def test_a_run_is_trained_longer_by_the_longer_run_s_schedule(
    tmp_path: Path, tiny_dataset: EpisodeDataset, tiny_config: TrainConfig
) -> None:
    config = dataclasses.replace(tiny_config, run_dir=str(tmp_path / "run"), num_steps=4)
    fit(prepare("default", config, data=tiny_dataset))
    with pytest.raises(
        ValueError, match="num_steps 2, but .* was asked for 4 and has done 4; give"
    ):
        open_run("default", dataclasses.replace(config, resume=True, num_steps=2))
    longer = dataclasses.replace(config, resume=True, num_steps=6)
    assert open_run("default", longer) == tmp_path / "run"  # asking changes nothing
    assert recorded("default", config.run_dir)["num_steps"] == 4
    said: list[str] = []
    state = fit(prepare("default", longer, data=tiny_dataset), hooks=Hooks(said.append))
    assert int(state.step) == 6
    (note,) = said
    assert note.startswith("note: the run has 6 updates now, 4 before; from where it resumes, the")
    assert recorded("default", config.run_dir)["num_steps"] == 6
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    schedules = [make_schedule(config.optimizer, num_steps) for num_steps in (4, 4, 6)]
    rates = [schedule(line["step"] - 1) for schedule, line in zip(schedules, lines, strict=True)]
    np.testing.assert_allclose([line["learning_rate"] for line in lines], rates, rtol=1e-6)
    # Resumed with what it now has, it is said nothing, and does nothing.
    again = fit(prepare("default", longer, data=tiny_dataset), hooks=Hooks(said.append))
    assert_equal(state, again)
    assert len(said) == 1
