"""A run in a notebook is the script's: the same rules, the same files, the same card."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import gymnasium
import jax
import numpy as np
import pytest
from tiny import make_config, make_dataset

from dt.checkpoint.manifest import complete_steps
from dt.checkpoint.restore import restore_state
from dt.cli.train import main, parse_train_args
from dt.config import EvaluationConfig, TrainConfig
from dt.data import EpisodeDataset, TrainingData
from dt.evaluation.score_run import episodes_to_choose_by, measure_for, score
from dt.training.hooks import Hooks
from dt.training.run import Task, fit, notes_on, prepare, task_for
from dt.training.step import Learner

WORDS = (
    "cartpole --model.num-layers 1 --model.width 8 --model.context-length 3 --data.batch-size 8 "
    "--num-steps 4 --log-interval 2 --checkpoint-interval 2 --evaluation.num-targets 2 "
    "--evaluation.episodes 2 --evaluation.interval 2 --data.holdout-fraction 0.3"
).split()
VARYING = ("wall_seconds", "env_steps_per_second", "command")


def tiny_cartpole(source: str = "") -> EpisodeDataset:
    """Random data of CartPole's spaces."""
    env = gymnasium.make("CartPole-v1")
    dataset = make_dataset([7, 2, 11], env.action_space)
    observations = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    return dataclasses.replace(
        dataset,
        name="demo:tiny",
        observations=observations,
        observation_space=env.observation_space,
        env_id="CartPole-v1",
        env_kwargs={"max_episode_steps": 20},
    )


@pytest.mark.slow
def test_a_notebook_s_run_is_the_script_s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directories = [tmp_path / "script", tmp_path / "notebook"]
    assert main([*WORDS, "--run-dir", str(directories[0])], tiny_cartpole) == 0

    preset, config = parse_train_args([*WORDS, "--run-dir", str(directories[1])])
    run = prepare(preset, config, demos=tiny_cartpole)
    capsys.readouterr()
    state = fit(run, measure=measure_for(run))
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(": asked ")[0] for line in said] == ["update 2", "update 4"]
    assert said[0].endswith("(1 episode a target; cards/training-2.json)")
    card = score(run, state)
    assert card is not None and card.checkpoint_step == 4

    files = [{path.name for path in directory.iterdir()} for directory in directories]
    assert files[0] - files[1] == {"card.md", "calibration.png"}  # pictures are of the report
    configs, cards = (
        [json.loads((directory / name).read_text()) for directory in directories]
        for name in ("config.json", "card.json")
    )
    for values in configs:
        del values["run_dir"]
    for values in cards:
        for name in VARYING:
            del values[name]
    assert configs[0] == configs[1] and cards[0] == cards[1]
    logs = [
        [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
        for directory in directories
    ]
    last = logs[0].pop()  # the script's, which has a picture of its card to log
    assert last["final/picture"] == "calibration.png" and len(logs[0]) == len(logs[1]) == 4
    losses = [[line["holdout_loss"] for line in log[::2]] for log in logs]
    assert losses[0] == losses[1] and len(losses[0]) == 2
    # After each round that has a card, what the card says, and where it is.
    for directory, log in zip(directories, logs, strict=True):
        for step, line in zip((2, 4), log[1::2], strict=True):
            kept = json.loads((directory / line["evaluation/card"]).read_text())
            assert line["step"] == kept["checkpoint_step"] == step
            assert line["evaluation/slope"] == kept["calibration"]["slope"]
            assert line["evaluation/error_over_range"] == kept["calibration"]["mae_over_range"]
            top = max(kept["targets"], key=lambda row: row["target"])
            assert line["evaluation/top_target"] == top["target"]
            assert line["evaluation/return_at_top"] == top["return_mean"]
    drawn = [line["evaluation/picture"] for line in logs[0][1::2]]
    assert drawn == ["cards/training-2.png", "cards/training-4.png"]
    assert all((directories[0] / name).stat().st_size > 5000 for name in drawn)
    shown = b"".join(path.read_bytes() for path in (directories[0] / "tensorboard").iterdir())
    for name in ("slope", "return_at_top", "card", "picture"):
        assert f"evaluation/{name}".encode() in shown
    assert shown.count(b"\x89PNG") == 3 and b"final/picture" in shown
    steps = [complete_steps(directory / "checkpoints") for directory in directories]
    assert steps[0] == steps[1] == [2, 4]
    like = jax.eval_shape(Learner(run.spec, config).init)
    for directory in directories:
        saved = restore_state(directory, like, run.spec, pytest.fail)
        for a, b in zip(*map(jax.tree.leaves, (saved, state)), strict=True):
            np.testing.assert_array_equal(a, b)

    with pytest.raises(ValueError, match="already holds a run"):
        fit(run, measure=measure_for(run))


def test_a_measure_is_not_forgotten(tmp_path: Path) -> None:
    preset, config = parse_train_args([*WORDS, "--run-dir", str(tmp_path / "run")])
    run = prepare(preset, config, demos=tiny_cartpole)
    with pytest.raises(ValueError, match=r"evaluation.interval 2 asks .* pass measure=measure_for"):
        fit(run)


def own_data_config(run_dir: Path) -> TrainConfig:
    config = dataclasses.replace(make_config(num_layers=1), run_dir=str(run_dir))
    # What the preset's evaluation is, where the environment goes with the data.
    evaluation = EvaluationConfig(env="CartPole-v1", max_episode_steps=200)
    return dataclasses.replace(config, num_steps=2, evaluation=evaluation)


@pytest.mark.slow
def test_own_data_that_name_no_environment_are_trained_on(tmp_path: Path) -> None:
    run = prepare("cartpole", own_data_config(tmp_path / "run"), data=make_dataset([7, 2, 11]))
    assert run.task is None and measure_for(run) is None
    assert run.describe()[0].startswith("no score card: the data names no environment; name one")
    assert run.describe()[1].startswith("tiny: 3 episodes, 20 steps, returns ")
    rounds: list[int] = []
    state = fit(run, hooks=Hooks(on_round=lambda done, means: rounds.append(done)))
    assert rounds == [2] and int(state.step) == 2
    assert json.loads((tmp_path / "run" / "config.json").read_text())["preset"] == "cartpole"
    with pytest.raises(ValueError, match="no score card: the data names no environment"):
        score(run, state)


def test_own_data_are_played_in_their_own_environment(tmp_path: Path) -> None:
    config = own_data_config(tmp_path / "run")
    other = dataclasses.replace(config, evaluation=EvaluationConfig(env="Acrobot-v1"))
    with pytest.raises(ValueError, match="--evaluation.env Acrobot-v1 .* leave it out"):
        prepare("cartpole", other, data=tiny_cartpole())
    with pytest.raises(ValueError, match="unknown preset 'cartpol'"):
        prepare("cartpol", config, data=tiny_cartpole())
    assert not (tmp_path / "run").exists()


def test_an_environment_without_a_time_limit_gets_one_and_a_note() -> None:
    gymnasium.register("Endless-v0", "gymnasium.envs.classic_control:CartPoleEnv")
    try:
        data = TrainingData.of(
            dataclasses.replace(tiny_cartpole(), env_id="Endless-v0", env_kwargs={})
        )
        task = task_for(data, 33)
        assert task == Task("Endless-v0", {"max_episode_steps": 33})
        (note,) = notes_on(data, task)
        assert note.startswith("Endless-v0 has no time limit, and is played for 33 steps")
        limited = TrainingData.of(tiny_cartpole())
        assert notes_on(limited, task_for(limited, 33)) == ()
    finally:
        del gymnasium.registry["Endless-v0"]


def test_checkpoints_are_chosen_by_a_fifth_of_the_episodes_and_at_least_one() -> None:
    assert [episodes_to_choose_by(n) for n in (1, 4, 5, 50)] == [1, 1, 1, 10]
