"""The loss of held-out episodes shows over-fitting, and changes nothing else."""

from __future__ import annotations

import dataclasses
import json
from operator import itemgetter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import batch_of, make_config, make_dataset

from dt.config import TrainConfig
from dt.data import TrainingData
from dt.parallel.mesh import make_mesh
from dt.spec.spec import PolicySpec
from dt.training.feed import Feed
from dt.training.hooks import Hooks
from dt.training.loop import train
from dt.training.program import make_holdout_loss
from dt.training.step import Learner


def holding_out(config: TrainConfig, fraction: float) -> TrainConfig:
    data = dataclasses.replace(config.data, holdout_fraction=fraction)
    return dataclasses.replace(config, data=data)


def lines_of(run_dir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_over_fitting_shows(tmp_path: Path) -> None:
    """Actions are noise: what is learnt about those of some episodes is wrong about others."""
    data = TrainingData.of(make_dataset([6] * 12))
    config = holding_out(make_config(dropout=0.0, return_dropout=0.0, width=32), 0.25)
    config = dataclasses.replace(
        config, num_steps=600, log_interval=50, checkpoint_interval=600, seed=1
    )
    spec = PolicySpec.of(data, config.model)
    train(spec, data, config, tmp_path, hooks=Hooks(on_message=pytest.fail))
    lines = lines_of(tmp_path)
    trained, held = ([line[name] for line in lines] for name in ("loss", "holdout_loss"))
    assert len(lines) == 12 and trained[-1] < 0.5 * trained[0]
    assert held[-1] > 1.2 * held[0] and held[-1] > 2 * trained[-1]


@pytest.mark.thorough
def test_a_run_that_holds_out_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    data = TrainingData.of(make_dataset([7, 2, 11, 5]))
    config = holding_out(make_config(num_layers=1), 0.25)
    spec = PolicySpec.of(data, config.model)
    for name in ("unbroken", "broken"):
        (tmp_path / name).mkdir()
    unbroken = train(spec, data, config, tmp_path / "unbroken")
    half = dataclasses.replace(config, num_steps=6)

    def stop(done: int, means: dict[str, float]) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(spec, data, half, tmp_path / "broken", hooks=Hooks(on_round=stop))
    resuming = dataclasses.replace(config, resume=True)
    resumed = train(spec, data, resuming, tmp_path / "broken")
    for a, b in zip(*map(jax.tree.leaves, (unbroken, resumed)), strict=True):
        np.testing.assert_array_equal(a, b)
    whole, broken = (
        [(line["step"], line["holdout_loss"]) for line in lines_of(tmp_path / name)]
        for name in ("unbroken", "broken")
    )
    assert whole == broken


def test_the_held_out_loss_is_the_mean_over_real_steps() -> None:
    """Of batches with padding, without dropout, whatever is left out in training."""
    data = TrainingData.of(make_dataset([1, 6, 2, 4]))
    config = holding_out(make_config(num_layers=1, dropout=0.5, return_dropout=0.9), 0.5)
    spec = PolicySpec.of(data, config.model)
    learner = Learner(spec, config)
    feed = Feed(data, spec, config, make_mesh(jax.devices()[:1]))
    params, draw = learner.init().params, feed.holdout_draw()
    assert draw is not None
    found = float(make_holdout_loss(learner)(params, feed.steps, draw))
    host = dataclasses.replace(config, data=dataclasses.replace(config.data, placement="host"))
    read = Feed(data, spec, host, make_mesh(jax.devices()[:1]))
    batches = read.holdout_draw()
    read.close()
    assert float(make_holdout_loss(learner)(params, None, batches)) == pytest.approx(found)
    plain = holding_out(make_config(num_layers=1, dropout=0.0, return_dropout=0.0), 0.5)
    without = Learner(PolicySpec.of(data, plain.model), plain)
    losses, counts = [], []
    for i in range(len(jax.tree.leaves(batches)[0])):
        batch = jax.tree.map(itemgetter(i), batches)
        is_null = jnp.zeros(len(batch.mask), bool)
        count = batch.mask.sum()
        losses.append(without.loss(params, batch, is_null, jax.random.key(0), count)[0] * count)
        counts.append(count)
    assert found == pytest.approx(float(sum(losses) / sum(counts)), rel=1e-5)


@pytest.mark.slow
def test_what_is_logged_has_names_that_the_loss_gives(tmp_path: Path) -> None:
    """The parts add up to the loss; the learning rate is the schedule's at the last update."""
    data = TrainingData.of(make_dataset([7, 2, 11]))
    config = make_config(num_layers=1, layout="observation-return-action", return_weight=0.5)
    spec = PolicySpec.of(data, config.model)
    train(spec, data, config, tmp_path)
    learner = Learner(spec, config)
    for line in lines_of(tmp_path):
        assert line["loss"] == pytest.approx(
            line["action_loss"] + 0.5 * line["return_loss"], rel=1e-5
        )
        assert line["learning_rate"] == pytest.approx(float(learner.schedule(line["step"] - 1)))
        assert "holdout_loss" not in line


def test_a_step_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the program must know the metrics' names before it runs one: start-up is tracing."""
    from dt.training.program import make_train_steps

    data = TrainingData.of(make_dataset([7, 2, 11]))
    learner = Learner(PolicySpec.of(data, make_config(num_layers=1).model), make_config())
    traced, loss = [], learner.loss

    def counted(*args: object) -> object:
        traced.append(args)
        return loss(*args)  # type: ignore[arg-type]

    learner.loss = counted  # type: ignore[assignment]
    batch = batch_of(learner, make_dataset([7, 2, 11]))
    draw = jax.tree.map(lambda field: field[None], batch)
    make_train_steps(learner).lower(learner.init(), None, draw, np.int32(1), np.int32(0))
    assert len(traced) == 1
