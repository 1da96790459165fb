"""The environment and the reference of a run are the user's, else the data's, else the preset's."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dt.cli.train import parse_train_args
from dt.config.presets import PRESETS
from dt.data import TrainingData
from dt.evaluation.of_run import environment_of
from dt.spaces.text import space_to_text
from dt.spec.spec import PolicySpec
from dt.training.inputs import environment_for, load_data, reference_of
from dt.training.run import prepare
from envs import load_demo


def write_npz(path: Path, **more: np.ndarray) -> Path:
    arrays = {
        "observations": np.zeros((6, 4), np.float32),
        "actions": np.array([0, 1, 0, 1, 0, 1]),
        "rewards": np.ones(6, np.float32),
        "episode_lengths": np.array([3, 3]),
    }
    np.savez(path, **{**arrays, **more})
    return path


def data_of(*words: object) -> TrainingData:
    """What train.py trains on, for these words."""
    preset, config = parse_train_args([*map(str, words), "--data.cache=none"])
    return load_data(preset, config, load_demo)


def test_the_environment_is_the_user_s_else_the_data_s_else_the_preset_s(tmp_path: Path) -> None:
    """A preset's time limit is its demo's, and that of the data goes with its environment."""
    nameless, named = write_npz(tmp_path / "a.npz"), tmp_path / "b.npz"
    own = {"env_id": "CartPole-v0", "env_kwargs": json.dumps({"max_episode_steps": 77})}
    write_npz(named, **{key: np.array(value) for key, value in own.items()})
    limit = {"max_episode_steps": 77}
    for preset, words, env_id, env_kwargs in (
        ("default", [nameless], None, {}),
        ("cartpole", [nameless], "CartPole-v1", {}),
        *(
            (preset, words, env_id, env_kwargs)
            for preset in ("cartpole", "default")
            for words, env_id, env_kwargs in (
                ([named], "CartPole-v0", limit),
                ([named, "--evaluation.env", "CartPole-v0"], "CartPole-v0", limit),
                (
                    [named, "--evaluation.max-episode-steps", "9"],
                    "CartPole-v0",
                    {"max_episode_steps": 9},
                ),
                ([named, "--evaluation.env", "phys2d/CartPole-v1"], "phys2d/CartPole-v1", {}),
                ([named, "--evaluation.env="], "CartPole-v0", limit),
                ([nameless, "--evaluation.env="], None, {}),
            )
        ),
    ):
        data = data_of(preset, "--data", *words)
        assert (data.env_id, data.env_kwargs) == (env_id, env_kwargs), (preset, words)
    demo = data_of()
    assert (demo.env_id, demo.env_kwargs) == ("CartPole-v1", {"max_episode_steps": 200})


def test_spaces_that_the_data_state_are_not_replaced_by_the_preset_s(tmp_path: Path) -> None:
    four, three = spaces.Box(-np.inf, np.inf, (4,), np.float32), spaces.Discrete(3)
    stated = {
        name: np.array(space_to_text(space))
        for name, space in (("observation_space", four), ("action_space", three))
    }
    path = write_npz(tmp_path / "stated.npz", **stated)
    data = data_of("cartpole", "--data", path)
    assert (data.env_id, data.action_space) == (None, three)
    assert "other spaces than those of CartPole-v1" in data.unplayable
    preset, config = parse_train_args(["cartpole", "--data", str(path), "--data.cache=none"])
    config = dataclasses.replace(config, run_dir=str(tmp_path / "run"))
    first = prepare(preset, config, demos=load_demo).describe()[0]
    assert first.startswith("no score card: ") and "states other spaces" in first
    env = gymnasium.make("CartPole-v1")
    for name, space in (
        ("observation_space", env.observation_space),
        ("action_space", env.action_space),
    ):
        stated[name] = np.array(space_to_text(space))
    path = write_npz(tmp_path / "same.npz", **stated)
    assert data_of("cartpole", "--data", path).env_id == "CartPole-v1"


def test_a_preset_s_environment_that_is_not_installed_is_no_obstacle() -> None:
    nowhere = dataclasses.replace(PRESETS["cartpole"].evaluation, env="Nowhere-v0")
    with pytest.raises(ValueError, match="--evaluation.env: .*Nowhere"):
        environment_for("cartpole", nowhere)
    usual = PRESETS["cartpole"].evaluation
    assert environment_for("cartpole", usual) == (None, {}, "CartPole-v1")


def test_a_demo_is_played_in_its_own_environment() -> None:
    with pytest.raises(ValueError, match="--evaluation.env Acrobot-v1 .* leave it out"):
        data_of("--evaluation.env", "Acrobot-v1")
    preset, config = parse_train_args([])
    with pytest.raises(ValueError, match="--data demo:cartpole: nothing here makes demos"):
        load_data(preset, config)


def test_a_preset_s_reference_is_its_own_task_s() -> None:
    hopper = PRESETS["hopper"].evaluation
    for env_id in ("Hopper-v4", "Hopper-v5"):
        assert reference_of("hopper", hopper, env_id) == hopper.known_reference
    for env_id in ("Walker2d-v4", None):
        assert reference_of("hopper", hopper, env_id) is None
    mine = dataclasses.replace(hopper, reference=("mine", 0.0, 9.0))
    assert reference_of("hopper", mine, "Walker2d-v4") == mine.known_reference


def write_planted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module on the path that leaves a file when it is imported, and a log that names it."""
    (folder / "planted_evil.py").write_text(
        f"""
import gymnasium
open({str(folder / "RAN")!r}, "w").close()
gymnasium.register("Planted-v0", "gymnasium.envs.classic_control.cartpole:CartPoleEnv")
"""
    )
    monkeypatch.syspath_prepend(str(folder))
    return write_npz(folder / "log.npz", env_id=np.array("planted_evil:Planted-v0"))


def test_a_module_of_a_file_runs_when_the_user_repeats_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, marker = write_planted(tmp_path, monkeypatch), tmp_path / "RAN"
    cache = tmp_path / "cache"
    for more in (["--data.cache=none"], [f"--data.cache={cache}"]):
        preset, config = parse_train_args(["cartpole", "--data", str(log), *more])
        with pytest.raises(ValueError, match="would run the module 'planted_evil'; if") as error:
            prepare(preset, config)
        assert "repeat it with --evaluation.env planted_evil:Planted-v0, or tr" in str(error.value)
        assert "\n" not in str(error.value)
    assert list(cache.iterdir()) == [] and not marker.exists()

    words = ["cartpole", "--data", str(log), "--data.cache=none", "--run-dir"]
    without = [*words, str(tmp_path / "a"), "--evaluation.env", "none"]
    run = prepare(*parse_train_args(without))
    assert run.task is None and run.describe()[0] == "no score card: none is asked for"
    assert run.spec.env_id == "planted_evil:Planted-v0" and not marker.exists()
    with pytest.raises(
        ValueError, match="a: its environment .*; if you trust it, repeat it with -"
    ):
        environment_of(tmp_path / "a", run.spec)
    assert not marker.exists()

    try:
        named = [*words, str(tmp_path / "b"), "--evaluation.env", "planted_evil:Planted-v0"]
        assert prepare(*parse_train_args(named)).task is not None
        assert marker.exists()
    finally:
        sys.modules.pop("planted_evil", None)
        gymnasium.registry.pop("Planted-v0", None)


def test_a_received_run_names_no_file_to_an_environment(tiny_spec: PolicySpec) -> None:
    spec = dataclasses.replace(
        tiny_spec, env_id="CartPole-v1", env_kwargs={"xml_file": "/etc/passwd"}
    )
    for named in ("", "CartPole-v1"):
        with pytest.raises(
            ValueError, match="run: .* would be given xml_file='/etc/passwd', which"
        ):
            environment_of(Path("run"), spec, named)
    assert environment_of(Path("run"), spec, "Acrobot-v1") == ("Acrobot-v1", {})
