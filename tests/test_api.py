"""The Python interface does in a notebook what the scripts do, and says what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from toy import Toy

import dt
from dt.api import with_changes
from dt.config import TrainConfig
from dt.data import Episode
from dt.evaluation.comparison import read_card

ROOT = Path(__file__).parent.parent
TINY = {
    "num_steps": 4,
    "log_interval": 2,
    "checkpoint_interval": 2,
    "model": {"num_layers": 1, "width": 8, "context_length": 3},
    "data": {"batch_size": 8},
    "evaluation": {"num_targets": 2, "episodes": 2, "max_episode_steps": 20},
}


def play_cartpole(count: int = 6) -> list[Episode]:
    """Episodes of a user's own loop."""
    env, rng, episodes = gymnasium.make("CartPole-v1"), np.random.default_rng(0), []
    for seed in range(count):
        observation, _ = env.reset(seed=seed)
        seen, acted, paid, over, cut = [observation], [], [], [], []
        while not (over and (over[-1] or cut[-1])):
            action = int(rng.integers(2))
            observation, reward, terminated, truncated, _ = env.step(action)
            seen.append(observation)
            acted.append(action)
            paid.append(float(reward))
            over.append(terminated)
            cut.append(truncated)
        columns = (np.array(seen), np.array(acted), np.array(paid), np.array(over), np.array(cut))
        episodes.append(Episode(*columns))
    return episodes


class Table(dict[str, np.ndarray]):
    """What dt needs of a pandas frame."""

    @property
    def columns(self) -> list[str]:
        return list(self)


def as_table(episodes: list[Episode], **renamed: str) -> Table:
    steps = [(e, t) for e, episode in enumerate(episodes) for t in range(len(episode))]
    table = Table(episode=np.array([e for e, _ in steps]))
    for i in range(4):
        table[f"obs_{i}"] = np.array([episodes[e].observations[t, i] for e, t in steps])
    for name in ("action", "reward", "terminated", "truncated"):
        field = "terminations" if name == "terminated" else f"{name}s".replace("edds", "ations")
        field = "truncations" if name == "truncated" else field
        table[name] = np.array([getattr(episodes[e], field)[t] for e, t in steps])
    return Table({renamed.get(key, key): value for key, value in table.items()})


@pytest.mark.slow
def test_a_notebook_trains_evaluates_compares_and_acts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = dt.train(
        play_cartpole(), "cartpole", run_dir=tmp_path / "run", env_id="CartPole-v1", **TINY
    )
    for name in ("config.json", "metrics.jsonl", "card.json", "card.md", "calibration.png"):
        assert (tmp_path / "run" / name).is_file(), name
    assert "6 episodes" in capsys.readouterr().out
    kept = json.loads((tmp_path / "run" / "card.json").read_text())

    card = dt.evaluate(run, episodes=2, targets=["p5:p95:2"])
    assert isinstance(card, dt.Card) and card.calibration is not None
    assert [list(row.episode_returns) for row in card.targets] == [
        row["episode_returns"] for row in kept["targets"]
    ]
    named = tmp_path / "run" / "cards" / "last-p5-p95x2-e2-s0.json"
    assert read_card(named) == read_card(tmp_path / "run" / "latest-card.json") == card
    assert named.with_suffix(".png").exists() and named.with_suffix(".md").exists()
    assert json.loads((tmp_path / "run" / "card.json").read_text()) == kept
    before = sorted((tmp_path / "run").rglob("*"))
    hidden = dt.evaluate(tmp_path / "run", [9.0, 20.0], 3, null=True, write=False)
    assert sorted((tmp_path / "run").rglob("*")) == before
    assert [row.target for row in hidden.targets] == [9.0, 20.0] and hidden.acting.null
    assert dt.compare(card, tmp_path / "run").slope is not None

    policy = run.policy()
    envs = gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")
    observations, _ = envs.reset(seed=0)
    policy.reset([10.0, 20.0])
    assert policy.act(observations).shape == (2,)

    again = dt.train(
        play_cartpole(),
        "cartpole",
        run_dir=run.directory,
        env_id="CartPole-v1",
        resume=True,
        **TINY,
    )
    assert again.directory == run.directory


def test_episodes_arrays_and_frames_in_memory_are_the_same_data() -> None:
    episodes = play_cartpole()
    arrays = {
        name: np.concatenate([getattr(e, name)[: len(e)] for e in episodes])
        for name in ("observations", "actions", "rewards", "terminations", "truncations")
    }
    one = dt.load_data(episodes, "CartPole-v1")
    for other in (dt.load_data(arrays, "CartPole-v1"), dt.load_data(as_table(episodes))):
        np.testing.assert_array_equal(one.observations, other.observations)
        np.testing.assert_array_equal(one.offsets, other.offsets)
        np.testing.assert_array_equal(one.terminations, other.terminations)
    assert one.env_id == "CartPole-v1" and one.final_observations is not None
    assert dt.describe(episodes, "CartPole-v1")["episodes"] == 6


def test_a_frame_s_columns_may_have_any_names_and_wrong_ones_are_named() -> None:
    table = as_table(play_cartpole(), action="chosen", episode="run", reward="score")
    columns = [f"obs_{i}" for i in range(4)]
    named = dt.from_frame(
        table, observations=columns, actions="chosen", reward="score", episode="run"
    )
    assert len(named) == 6 and named.actions.ndim == 1
    with pytest.raises(ValueError, match="mine: no column begins with action or act.*actions="):
        dt.from_frame(table, name="mine")
    with pytest.raises(ValueError, match="has no column 'reward'; it holds run, obs_0"):
        dt.from_frame(table, actions="chosen")
    shuffled = Table({key: value[::-1] if key == "run" else value for key, value in table.items()})
    shuffled["run"] = np.roll(table["run"], 3)
    with pytest.raises(ValueError, match="do not stand together in column 'run'; sort by it"):
        dt.from_frame(shuffled, actions="chosen", reward="score", episode="run")
    endless = Table({key: table[key] for key in (*columns, "chosen", "score")})
    with pytest.raises(ValueError, match="no column says where episodes end"):
        dt.from_frame(endless, actions="chosen", reward="score")
    words = Table({**table, "score": np.array(["a"] * len(table["score"]))})
    with pytest.raises(ValueError, match="column 'score' holds <U1; give numbers"):
        dt.from_frame(words, actions="chosen", reward="score")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_step": 3}, "no field 'num_step' of TrainConfig; did you mean 'num_steps'.* data"),
        ({"learning_rate": 1}, "no field 'learning_rate'.*; it is one of optimizer: optimizer={"),
        ({"model": {"widht": 3}}, "no field model.widht; did you mean 'width'.*there are"),
        ({"model": {"width": 0}}, "model.width is 0"),
        ({"model": {"width": "64"}}, "model.width: '64' is no int"),
        ({"model": {"dtype": "float16"}}, "model.dtype: float16 not in"),
        ({"model": 64}, "model is 64; give a dictionary with some of recipe"),
        ({"data": "log.npz"}, "data is 'log.npz'; give a dictionary with some of source"),
        ({"num_steps": 1e4}, "num_steps: 10000.0 is no int"),
    ],
)
def test_a_wrong_change_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_changes(TrainConfig(), changes)


def test_changes_are_of_every_part_and_may_be_numpy_s_and_dataclasses(tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "num_steps": np.int64(7),
        "model": dt.ModelConfig(width=64),
        "optimizer": {"betas": (0.9, 0.95), "clip_norm": float("inf")},
        "init_from": tmp_path,
    }
    changed = with_changes(dt.PRESETS["hopper"], asked)
    assert (changed.num_steps, changed.init_from) == (7, str(tmp_path))
    assert changed.model == dt.ModelConfig(width=64)
    assert changed.optimizer.betas == (0.9, 0.95) and changed.optimizer.clip_norm == np.inf
    assert changed.evaluation == dt.PRESETS["hopper"].evaluation
    assert all(with_changes(preset, {}) == preset for preset in dt.PRESETS.values())


def small(**changes: object) -> dict[str, Any]:
    """Two steps that are an episode, as arrays by name; None leaves one out."""
    arrays = {
        "observations": np.zeros((2, 4), np.float32),
        "actions": np.array([0, 1]),
        "rewards": np.ones(2),
        "terminations": np.array([False, True]),
        **changes,
    }
    return {name: value for name, value in arrays.items() if value is not None}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: dt.load_data([1, 2]), "data: holds a int; give a path"),
        (lambda: dt.load_data([]), "data: holds nothing"),
        (lambda: dt.load_data(None), "data: is of type NoneType; give a path"),
        (lambda: dt.load_data("x.npz"), "^data x.npz: no such file"),
        (lambda: dt.load_data(small(observations=[[1], [1, 2]])), "observations holds rows of une"),
        (lambda: dt.load_data(small(rewards=None, rewardz=[1, 1])), "'rewardz' may be it"),
        (lambda: dt.load_data(Table({"obs": np.zeros(0)})), "data: has no rows"),
        (lambda: dt.train("x.npz", "hoper"), "preset 'hoper'; did you mean 'hopper'"),
        (lambda: dt.train("x.npz", config={"num_steps": 3}), "config is a dict; give dt.TrainCon"),
        (lambda: dt.train(small(), env_id="CartPol-v1"), "^env_id: cannot make.*'CartPol-v1'"),
        (
            lambda: dt.train(small(actions=[0.5, 1.0]), env_id="CartPole-v1"),
            "actions are float64, but the space is Discrete.2.; give integers",
        ),
        (lambda: dt.train(small(), run_dir="no", resume=True), "^run_dir no: .* without resume=Tr"),
        (
            lambda: dt.train("demo:cartpole", env_id="Pendulum-v1"),
            "^env_id='Pendulum-v1'.* with da",
        ),
        (lambda: dt.evaluate("nowhere"), "nowhere: holds no checkpoint, for there is no such fold"),
        (lambda: dt.evaluate("nowhere", episodes=0), "episodes is 0; it must be at least 1"),
        (lambda: dt.evaluate("nowhere", num_episodes=3), "num_episodes'; did you mean 'episodes'"),
        (lambda: dt.evaluate("nowhere", nul=True), "no acting option 'nul'; did you mean 'null'"),
        (lambda: dt.evaluate(3), "run is a int; give what dt.train gave, or its directory"),
        (lambda: dt.load_policy("nowhere"), "nowhere: holds no checkpoint"),
        (lambda: dt.export_policy("runs/hopper", "p.npz"), "policy is 'runs/hopper'; give what"),
    ],
)
def test_what_a_newcomer_gets_wrong_is_one_line_in_python_s_words(
    wrong: Callable[[], object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        wrong()
    assert "\n" not in str(caught.value) and "--" not in str(caught.value)


def test_data_that_name_no_environment_are_told_the_argument_that_names_one(tmp_path: Path) -> None:
    class Told(Exception):
        pass

    def stop(line: str) -> None:
        raise Told(line)

    with pytest.raises(Told, match="no score card: the data names no env.*; name one with env_id="):
        dt.train(small(), run_dir=tmp_path / "run", on_message=stop)


def test_every_public_name_is_there_and_listed_without_starting_jax() -> None:
    for name in dt.__all__:
        assert getattr(dt, name) is not None and name in dir(dt)
    code = "import sys, dt; dir(dt); dt.load_policy; print('jax' in sys.modules)"
    code = code.replace("dt.load_policy; ", "")
    words = [sys.executable, "-c", code]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"


def test_steps_with_parts_are_columns_too_and_need_an_environment_that_says_their_spaces() -> None:
    steps = [{"at": np.float32([t, 0]), "mode": t % 2} for t in range(4)]
    columns = {
        "observations": steps,
        "actions": np.array([0, 1, 0, 1]),
        "rewards": np.ones(4),
        "terminations": np.array([False, True, False, True]),
    }
    with pytest.raises(ValueError, match=r"data: steps have several parts.*name .*\(env_id=, "):
        dt.load_data(columns)
    seen = gymnasium.spaces.Dict(
        at=gymnasium.spaces.Box(0, 9, (2,), np.float32), mode=gymnasium.spaces.Discrete(2)
    )
    gymnasium.register("Parts-v0", lambda **_: Toy(seen, gymnasium.spaces.Discrete(2)))
    try:
        data = dt.load_data(columns, "Parts-v0")
    finally:
        del gymnasium.registry["Parts-v0"]
    assert len(data) == 2 and data.observations["mode"].tolist() == [0, 1, 0, 1]


def test_nothing_is_played_where_none_is_asked_for(tmp_path: Path) -> None:
    arrays = {
        "observations": np.zeros((6, 4), np.float32),
        "actions": np.array([0, 1, 0, 1, 0, 1]),
        "rewards": np.arange(6.0),
        "episode_lengths": np.array([3, 3]),
        "env_id": np.array("planted_api:Nice-v0"),
    }
    small: dict[str, Any] = {
        "model": {"num_layers": 1, "width": 8, "context_length": 2},
        "num_steps": 1,
        "log_interval": 1,
        "on_message": lambda line: None,
    }
    with pytest.raises(ValueError, match="would run the module 'planted_api'; if you trust it"):
        dt.train(arrays, run_dir=tmp_path / "run", **small)
    run = dt.train(arrays, run_dir=tmp_path / "run", evaluation={"env": "none"}, **small)
    assert run.task is None and run.spec.env_id == "planted_api:Nice-v0"
