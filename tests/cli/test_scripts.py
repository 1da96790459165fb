"""The scripts work from end to end, and answer bad input with one line and exit code 2."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from script_process import ROOT, Scripts, environment

from dt.checkpoint.manifest import write_manifest
from dt.cli import steer

TINY = "--model.num-layers 1 --model.width 8 --model.context-length 3 --data.batch-size 8".split()
SHORT = "--num-steps 4 --log-interval 2 --checkpoint-interval 2 --evaluation.episodes 2".split()


class Script(Protocol):
    """Runs a script in a folder and captures what it prints."""

    def __call__(self, name: str, *args: object, cwd: Path) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(scope="module")
def script() -> Iterator[Script]:
    """In forks of one process, which starts no new Python for every call."""
    scripts = Scripts()
    yield scripts.run
    scripts.close()


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run of the default preset, as tiny as it goes."""
    folder = tmp_path_factory.mktemp("work")
    command = [sys.executable, str(ROOT / "train.py"), *TINY, *SHORT]  # a process of its own
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment())
    assert done.returncode == 0, done.stderr
    assert "target" in done.stdout and "slope" in done.stdout
    return folder / "runs" / "cartpole"


@pytest.mark.slow
def test_training_leaves_everything_a_run_is(run_dir: Path) -> None:
    names = {path.name for path in run_dir.iterdir()}
    assert {"config.json", "metrics.jsonl", "card.json", "calibration.png", "checkpoints"} <= names
    card = json.loads((run_dir / "card.json").read_text())
    assert len(card["targets"]) == 7 and card["checkpoint_step"] == 4
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 4]
    # The run's own card is logged last, as training's cards are.
    assert lines[2]["final/slope"] == card["calibration"]["slope"]
    assert lines[2]["final/return_at_top"] == card["targets"][-1]["return_mean"]
    assert (run_dir / lines[2]["final/picture"]).is_file()
    assert json.loads((run_dir / lines[2]["final/card"]).read_text()) == card
    shown = b"".join(path.read_bytes() for path in (run_dir / "tensorboard").iterdir())
    assert b"final/slope" in shown and shown.count(b"\x89PNG") == 1


@pytest.mark.slow
def test_a_received_run_imports_no_module_that_the_user_does_not_name(
    script: Script, run_dir: Path, tmp_path: Path
) -> None:
    """Its hashes say that it is whole, and not who made it."""
    run = shutil.copytree(run_dir, tmp_path / "run")
    (tmp_path / "planted_run.py").write_text("open('RAN', 'w').close()")
    folder = run / "checkpoints" / "4"
    spec = json.loads((folder / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps({**spec, "env_id": "planted_run:CartPole-v1"}))
    write_manifest(folder, {"step": 4, "metric": None})
    before = sorted(tmp_path.rglob("*"))
    for more in ([], ["--video", "film"], ["--fit-request-map"]):
        done = script("evaluate.py", run, "--episodes", 1, *more, cwd=tmp_path)
        assert done.returncode == 2
        assert "if you trust it, repeat it with --env planted_run:CartPole-v1" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_evaluation_needs_the_run_directory_alone(
    script: Script, run_dir: Path, tmp_path: Path
) -> None:
    card_file, before = tmp_path / "card.json", (run_dir / "card.json").read_bytes()
    args = ("--targets", "30", "p50", "--episodes", 3, "--json", card_file)
    done = script("evaluate.py", run_dir, *args, "--baseline", "null", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    card = json.loads(card_file.read_text())
    assert card["baseline"] == "null" and card["targets"][0]["target"] == 30.0
    # Without a return to go by, the same seeds play the same episodes.
    first, second = (row["episode_returns"] for row in card["targets"])
    assert first == second and card["calibration"]["slope"] == 0.0
    assert (run_dir / "cards" / "last-30_p50-null-e3-s0.json").exists()
    assert json.loads((run_dir / "latest-card.json").read_text()) == card
    assert (run_dir / "card.json").read_bytes() == before  # training's stays as it was
    kept = sorted(run_dir.rglob("*"))
    done = script("evaluate.py", run_dir, "--episodes", 1, "--no-write", cwd=tmp_path)
    assert done.returncode == 0 and "slope" in done.stdout and "wrote" not in done.stdout
    assert sorted(run_dir.rglob("*")) == kept
    args = ("--targets", "40", "--episodes", 1, "--out", tmp_path / "out")
    done = script("evaluate.py", run_dir, *args, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "out").glob("cartpole-*-last-40-e1-s0.json")
    assert (tmp_path / "out" / "latest-card.json").resolve() == file.resolve()
    done = script("evaluate.py", "--compare", tmp_path / "out", file, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_runs_are_aggregated_calibrated_and_compared(
    script: Script, run_dir: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    shutil.copytree(run_dir, again)
    args = ("--targets", "30", "p50", "--episodes", 3, "--ood", 1.5, "--out", tmp_path / "both")
    done = script("evaluate.py", run_dir, again, *args, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (aggregate,) = (tmp_path / "both").glob("aggregate-cartpole-again-*.json")
    assert aggregate.stem.endswith("-last-30_p50-ood1.5-e3-s0")
    both = json.loads(aggregate.read_text())
    assert json.loads((tmp_path / "both" / "latest-card.json").read_text()) == both
    assert [run["seed"] for run in both["runs"]] == [0, 1]
    cards = [
        run / "cards" / f"last-30_p50-ood1.5-e3-s{seed}.json"
        for seed, run in enumerate((run_dir, again))
    ]
    own = [json.loads(card.read_text()) for card in cards]
    means = [card["targets"][0]["return_mean"] for card in own]
    assert both["targets"][0]["run_means"] == means
    assert [row["ood"] for row in own[0]["targets"]] == [False, False, True, True, True]
    assert not own[0]["clipped"] and "beyond the data" in done.stdout

    done = script("evaluate.py", "--compare", *cards, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "P(B > A)" in done.stdout and "not paired" in done.stdout
    assert {"comparison.json", "comparison.md"} <= {f.name for f in (again / "cards").iterdir()}

    mapped = ("--fit-request-map", "--calibrated", "--episodes", 2, "--targets", "30", "p50")
    done = script("evaluate.py", again, *mapped, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    card = json.loads((again / "cards" / "last-30_p50-calibrated-e2-s0.json").read_text())
    request_map = json.loads((again / "request_map.json").read_text())
    assert len(request_map["requests"]) == 15
    wanted, request = card["targets"][0]["target"], card["targets"][0]["request"]
    reached = np.interp(request, request_map["requests"], request_map["achieved"])
    low, high = request_map["achieved"][0], request_map["achieved"][-1]
    assert reached == pytest.approx(np.clip(wanted, low, high))


@pytest.mark.slow
def test_a_run_is_asked_by_what_its_inputs_were_measured_to_bring(
    script: Script, run_dir: Path, tmp_path: Path
) -> None:
    refused = script("evaluate.py", run_dir, "--asked", "--episodes", 1, cwd=tmp_path)
    assert refused.returncode == 2 and "measure it with dt steer" in refused.stderr
    weights = {path: path.read_bytes() for path in (run_dir / "checkpoints").rglob("*.json")}
    done = script("steer.py", run_dir, "ask", "--budget", 150, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "can be brought about" in done.stdout
    table = json.loads((run_dir / "ask.json").read_text())
    assert 100 < table["measured"]["episodes"] <= 150
    assert sum(row["episodes"] for row in table["inputs"]) == table["measured"]["episodes"]
    assert (run_dir / "steering" / "ask.png").stat().st_size > 10_000
    found = json.loads((run_dir / "steering" / "ask.json").read_text())
    assert found["weights"]["before"] == found["weights"]["after"]
    assert found["cost"]["env_steps"] == table["measured"]["steps"]
    assert found["cost"]["forward"] == 2 * found["cost"]["env_steps"]
    assert found["verdict"] in done.stdout
    assert {path: path.read_bytes() for path in weights} == weights
    done = script("evaluate.py", run_dir, "--asked", "--episodes", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "asked by a table from" in done.stdout and "unasked" in done.stdout
    (card,) = (run_dir / "cards").glob("*-asked-e2-s0.json")
    assert json.loads(card.read_text())["measured"]["steps"] == table["measured"]["steps"]
    (run_dir / "ask.json").write_text(json.dumps(table | {"inputs": "none"}))
    damaged = script("evaluate.py", run_dir, "--asked", "--episodes", 1, cwd=tmp_path)
    (run_dir / "ask.json").unlink()
    assert damaged.returncode == 2 and len(damaged.stderr.splitlines()) == 1
    assert "ask.json: inputs must be a list; measure again" in damaged.stderr


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["ask"], "holds no checkpoint"),
        (["aks"], "no verb 'aks'; did you mean 'ask'? there are"),
        ([], "no verb ''"),
        (["ask", "--budgets", "3"], "did you mean --budget?"),
    ],
)
def test_wrong_words_to_steer_are_one_line(
    args: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert steer.main([str(tmp_path / "none"), *args]) == 2
    line = capsys.readouterr().err
    assert named in line and line.count("\n") == 1


@pytest.mark.slow
def test_the_device_plays_the_same_targets(script: Script, run_dir: Path, tmp_path: Path) -> None:
    args = ("--targets", "30", "p50", "--episodes", 5, "--deterministic")
    for where in ("--on-device", "--step-timeout=60"):
        done = script("evaluate.py", run_dir, *args, where, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    device, host = (
        json.loads((run_dir / "cards" / f"last-30_p50-deterministic-{name}e5-s0.json").read_text())
        for name in ("on-device-", "")
    )
    assert device["on_device"] and not host["on_device"]
    assert [row["target"] for row in device["targets"]] == [
        row["target"] for row in host["targets"]
    ]
    # Starts differ, so episodes do, but not by much where the likeliest action is always taken.
    lengths = [[row["length_mean"] for row in card["targets"]] for card in (device, host)]
    np.testing.assert_allclose(*lengths, rtol=0.5)


@pytest.mark.slow
def test_a_run_counts_once(script: Script, run_dir: Path) -> None:
    done = script("evaluate.py", run_dir, run_dir / ".." / run_dir.name, cwd=run_dir)
    assert done.returncode == 2 and "named twice" in done.stderr


@pytest.mark.slow
def test_resume_goes_on_and_refuses_another_model(script: Script, run_dir: Path) -> None:
    folder = run_dir.parent.parent
    wider = [*TINY, *SHORT, "--resume", "--model.width", 16]
    done = script("train.py", *wider, cwd=folder)
    assert done.returncode == 2 and "--resume with model.width 16" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    done = script("train.py", *TINY, *SHORT, "--resume", cwd=folder)
    assert done.returncode == 0, done.stderr


def write_npz(path: Path, **changes: np.ndarray) -> Path:
    arrays = {
        "observations": np.zeros((6, 4), np.float32),
        "actions": np.array([0, 1, 0, 1, 0, 1]),
        "rewards": np.ones(6, np.float32),
        "episode_lengths": np.array([3, 3]),
    }
    np.savez(path, **{**arrays, **changes})
    return path


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["cartpol"], "unknown preset 'cartpol'; did you mean 'cartpole'?"),
        (["hopper"], "preset hopper brings no data; name it with --data"),
        (["cartpole", "--data", "missing.npz"], "--data missing.npz: no such file"),
        (["cartpole", "--data", "nan.npz"], "observations at episode 1, step 1 is not finite"),
        (["cartpole", "--data", "wide.npz"], "the preset's environment, CartPole-v1, as the data"),
        (["cartpole", "--data", "text.npz"], "text.npz: unknown content"),
        (["cartpole", "--data", "good.npz", "--evaluation.env", "No-v0"], "make environment"),
        (["cartpole", "--model.layout", "return-action"], "layout 'return-action'"),
        (["cartpole", "--resume", "--run-dir", "nowhere"], "no run to resume there"),
        (["cartpole", "--run-dir", "text.npz"], "--run-dir text.npz: no directory"),
        (["cartpole", "--data=good.npz", "--data.cache=text.npz"], "--data.cache text.npz: no dir"),
        (
            ["cartpole", "--model.layout=observation-action", "--model.conditioning=added"],
            "no return",
        ),
    ],
)
def test_bad_input_to_training_is_one_line_and_exit_2(
    script: Script, tmp_path: Path, args: list[str], message: str
) -> None:
    observations = np.zeros((6, 4), np.float32)
    observations[4, 2] = np.nan
    write_npz(tmp_path / "nan.npz", observations=observations)
    write_npz(tmp_path / "wide.npz", observations=np.zeros((6, 5), np.float32))
    write_npz(tmp_path / "good.npz")
    (tmp_path / "text.npz").write_text("no arrays here")
    before = sorted(tmp_path.iterdir())
    done = script("train.py", *args, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before  # nothing half made is left


BREAKS = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv

class Breaks(CartPoleEnv):
    def step(self, action):
        raise OSError("the cable is loose")

class Leaves(CartPoleEnv):
    def step(self, action):
        raise SystemExit(0)

gymnasium.register("Breaks-v0", Breaks, max_episode_steps=9)
gymnasium.register("Leaves-v0", Leaves, max_episode_steps=9)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "why"),
    [
        pytest.param("Breaks-v0", "OSError: the cable is loose", marks=pytest.mark.thorough),
        ("Leaves-v0", "SystemExit: 0"),
    ],
)
def test_an_environment_that_breaks_does_not_end_training(
    tmp_path: Path, name: str, why: str
) -> None:
    (tmp_path / "loose.py").write_text(BREAKS)
    data = ["--data", write_npz(tmp_path / "good.npz"), "--evaluation.env", f"loose:{name}"]
    words = [*data, *TINY, *SHORT, "--evaluation.interval", "2", "--run-dir", "run"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *map(str, words)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**environment(), "PYTHONPATH": str(tmp_path), "COLUMNS": "200"},
    )
    assert f"no card at update 2: {name}, row 0, episode 0, step 0: raised {why}" in done.stdout
    assert "training goes on" in done.stdout
    assert done.returncode == 2
    assert why in done.stderr and "the run is trained: dt eval" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert (tmp_path / "run" / "checkpoints" / "4").is_dir()


@pytest.mark.slow
def test_an_environment_that_exits_does_not_end_evaluation_without_a_word(
    run_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "loose.py").write_text(BREAKS)
    done = subprocess.run(
        [sys.executable, ROOT / "evaluate.py", run_dir, "--env", "loose:Leaves-v0"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**environment(), "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 2
    assert "Leaves-v0, row 0, episode 0, step 0: raised SystemExit: 0" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--targets", "abc"], "--targets 'abc' is no target"),
        (["--targets", "p5:p200:3"], "is no target"),
        (["--targets"], "--targets is empty"),
        (["--env", "Pendulum-v1"], "observation space"),
        (["--checkpoint", "77"], "no checkpoint '77'"),
        (["--checkpoint", "best"], "no checkpoint has a score card"),
        (["--json", "nowhere/card.json"], "there is no folder"),
        (["--ood", "1.0"], "give a number above"),
        (["--on-device", "--env", "Acrobot-v1"], "Acrobot-v1 has no functional form"),
        (["--on-device", "--step-timeout", "5"], "--step-timeout watches environments on the host"),
        (["--step-timeout", "-1"], "--step-timeout is -1.0"),
        (["--calibrated"], "request_map.json: no such file; fit it with"),
        (["--calibrated", "--ood", "2"], "leave out --ood and --baseline null"),
        (["--compare", "a", "b"], "name one or more run directories, or two cards"),
        (["--kappa", "3"], "--kappa and --expert-samples are of --targets expert"),
        (["--deterministic", "--top-p", "0.5"], "--deterministic takes the likeliest action"),
        (["--json", "."], "--json .: is a folder"),
        (["--video", "config.json"], "--video config.json: is a file"),
        (["--targets", "1e99"], "--targets '1e99'"),
    ],
)
def test_bad_input_to_evaluation_is_one_line_and_exit_2(
    script: Script, run_dir: Path, args: list[str], message: str
) -> None:
    done = script("evaluate.py", run_dir, "--episodes", 1, *args, cwd=run_dir)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_cards_that_are_not_there_are_named(script: Script, tmp_path: Path) -> None:
    for args, message in ((["--compare", "a", "b"], "no such card"), ([], "name one or more run")):
        done = script("evaluate.py", *args, cwd=tmp_path)
        assert done.returncode == 2 and message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_directory_without_a_checkpoint_is_named(script: Script, tmp_path: Path) -> None:
    done = script("evaluate.py", tmp_path, cwd=tmp_path)
    assert done.returncode == 2 and "holds no checkpoint" in done.stderr
