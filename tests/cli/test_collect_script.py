"""Does `collect.py` do what its flags say, survive kill -9, and refuse the rest in one line?"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium
import minari
import numpy as np
import pytest

from dt.data import load_dataset
from dt.data.formats.minari import read_minari

ROOT = Path(__file__).parents[2]
CART = ("CartPole-v1", "--policy", "random", "--max-episode-steps", "20")

LEAVES = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv

class Leaves(CartPoleEnv):
    def step(self, action):
        raise SystemExit(0)

gymnasium.register("Leaves-v0", Leaves, max_episode_steps=9)
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and another below it for Minari."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


@pytest.fixture
def collect(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """The script's main, with these arguments, in this process."""
    before = signal.getsignal(signal.SIGTERM)
    spec = importlib.util.spec_from_file_location("collect", ROOT / "collect.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "collect", module)
    spec.loader.exec_module(module)

    def run(*args: object) -> int:
        return module.main([*map(str, args)], module.load_players)

    yield run
    signal.signal(signal.SIGTERM, before)


def write_actor(path: Path) -> Path:
    """A linear actor that pushes towards the side to which the pole falls."""
    weight = np.array([[0, 0, -1, -0.5], [0, 0, 1, 0.5]], np.float32)
    np.savez(path, w0=weight, b0=np.float32(0), activation="tanh", kind="linear")
    return path


def test_a_mixture_is_collected_as_asked_and_trained_on(
    collect: Callable[..., int], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    actor = write_actor(root / "actor.npz")
    policies = ("--policy", "scripted:cartpole", "--policy", f"npz:{actor}", "--policy", "random")
    assert not collect(
        *("CartPole-v1", *policies, "--weights", 2, 1, 1, "--episodes", 40, "--seed", 3),
        *("--max-episode-steps", 60, "--out", "cart/mixed-v0"),
    )
    dataset = load_dataset("cart/mixed-v0")
    assert (dataset.env_id, dataset.env_kwargs) == ("CartPole-v1", {"max_episode_steps": 60})
    returns = dataset.returns
    assert len(returns) == 40 and returns[20:30].mean() == 60 > returns[30:].mean()
    shown = capsys.readouterr().out
    assert "40/40 episodes" in shown and "wrote cart/mixed-v0" in shown
    for policy in ("scripted:cartpole", "npz:actor", "random"):
        assert policy in shown
    assert f"{returns[:20].mean():.1f}" in shown


def test_a_function_of_ones_own_plays_as_gymnasium_has_it(
    collect: Callable[..., int],
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (root / "pushing.py").write_text(
        "import numpy as np\n"
        "def act(observations, rngs):\n"
        "    falls = observations[:, 2] + observations[:, 3] / 2 > 0\n"
        "    return np.array([rng.integers(2) if rng.random() < 0.1 else side\n"
        "                     for side, rng in zip(falls, rngs)]).astype(int)\n"
    )
    monkeypatch.syspath_prepend(root)
    args = (*CART[:1], "--policy", "pushing:act", *CART[3:], "--episodes", 6)
    assert not collect(*args, "--num-envs", 4, "--out", "cart/own-v0")
    assert not collect(*args, "--num-envs", 1, "--out", "cart/alone-v0")
    assert "pushing:act" in capsys.readouterr().out
    together, alone = load_dataset("cart/own-v0"), load_dataset("cart/alone-v0")
    np.testing.assert_array_equal(together.actions, alone.actions)
    assert together.returns.tolist() == [20.0] * 6 and 0 < together.actions.mean() < 1
    monkeypatch.delitem(sys.modules, "pushing")


def test_noise_and_determinism_reach_the_policies(collect: Callable[..., int], root: Path) -> None:
    actor = write_actor(root / "actor.npz")
    args = ("CartPole-v1", "--policy", f"npz:{actor}", "--episodes", 5)
    assert not collect(*args, "--max-episode-steps", 50, "--out", "still-v0")
    assert not collect(*args, "--max-episode-steps", 50, "--noise", 1, "--out", "noisy-v0")
    assert load_dataset("still-v0").returns.tolist() == [50.0] * 5
    assert load_dataset("noisy-v0").returns.mean() < 40
    assert not collect(
        *("CartPole-v1", "--policy", "scripted:cartpole", "--deterministic", "--episodes", 5),
        *("--max-episode-steps", 50, "--out", "best-v0"),
    )
    assert load_dataset("best-v0").returns.tolist() == [50.0] * 5


def test_the_environment_takes_further_arguments(collect: Callable[..., int]) -> None:
    kwargs = '{"sutton_barto_reward": true}'
    assert not collect(*CART, "--episodes", 2, "--env-kwargs", kwargs, "--out", "cart-v0")
    dataset = load_dataset("cart-v0")
    assert set(dataset.rewards.tolist()) <= {0.0, -1.0}
    assert dataset.env_kwargs == {"max_episode_steps": 20, "sutton_barto_reward": True}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([*CART], "--out"),
        ([*CART, "--out", "c-v0", "--epsodes", "3"], "Unrecognized options"),
        ([*CART, "--out", "cart"], "--out cart: not the form of a Minari id"),
        ([*CART, "--out", "c/cart-v0"], "--out c/cart-v0: not the form of a Minari id"),
        (["CartPole-v1", "--out", "c-v0"], "--policy is missing"),
        (["CartPole-v1", "--policy", "rnd", "--out", "c-v0"], "'rnd' is none of random"),
        (["CartPole-v1", "--policy", "npz:no.npz", "--out", "c-v0"], "there is no file no.npz"),
        (["CartPole-v1", "--policy", "npz:text.npz", "--out", "c-v0"], "text.npz: not a readable"),
        (["Nowhere-v0", "--policy", "random", "--out", "c-v0"], "cannot make environment"),
        ([*CART, "--episodes", "0", "--out", "c-v0"], "--episodes is 0"),
        ([*CART, "--num-envs", "0", "--out", "c-v0"], "--num-envs is 0"),
        ([*CART, "--noise", "-1", "--out", "c-v0"], "--noise is -1.0"),
        ([*CART, "--noise", "2", "--out", "c-v0"], "--noise is 2.0"),
        ([*CART, "--past-end", "clamp", "--out", "c-v0"], "--past-end clamp is of --policy run:"),
        ([*CART, "--noise", "nan", "--out", "c-v0"], "--noise is nan"),
        ([*CART, "--seed", "-1", "--out", "c-v0"], "--seed is -1"),
        ([*CART, "--weights", "1", "2", "--out", "c-v0"], "--weights has 2 numbers for 1"),
        ([*CART, "--weights", "0", "--out", "c-v0"], "--weights 0.0: give positive numbers"),
        ([*CART, "--env-kwargs", "{", "--out", "c-v0"], "--env-kwargs {: no JSON"),
        ([*CART, "--env-kwargs", "[1]", "--out", "c-v0"], "--env-kwargs [1]: give an object"),
        ([*CART, "--env-kwargs", '{"x": 1}', "--out", "c-v0"], "cannot make environment"),
        ([*CART, "--policy", "run:none@9", "--out", "c-v0"], "none: holds no checkpoint"),
        (["Pendulum-v1", "--policy", "scripted:cartpole", "--out", "c-v0"], "reads 4 numbers"),
    ],
)
def test_bad_input_is_one_line_and_exit_2_and_leaves_nothing(
    collect: Callable[..., int],
    root: Path,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    message: str,
) -> None:
    (root / "text.npz").write_text("no arrays here")
    assert collect(*args) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
    assert not list((root / "minari").rglob("*")) if (root / "minari").exists() else True


def test_a_finished_id_is_refused_and_a_started_one_bound_to_its_command(
    collect: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    args = (*CART, "--episodes", 3, "--out", "cart/random-v0")
    assert not collect(*args)
    before = read_minari("cart/random-v0").load()
    capsys.readouterr()
    assert collect(*args) == 2
    shown = capsys.readouterr()
    assert "exists; give another name or version" in shown.err and not shown.out
    np.testing.assert_array_equal(
        read_minari("cart/random-v0").load().observations, before.observations
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["loose:Leaves-v0", "--policy", "random"], "step 0: raised SystemExit: 0"),
        (["CartPole-v1", "--policy", "ending:act"], "--policy ending:act: raised SystemExit: 0"),
        (["CartPole-v1", "--policy", "leaving:act"], "cannot import leaving (SystemExit: no)"),
    ],
)
def test_what_would_exit_is_one_line_and_exit_2(
    collect: Callable[..., int],
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    why: str,
) -> None:
    (root / "loose.py").write_text(LEAVES)
    (root / "ending.py").write_text("def act(observations, rngs):\n    raise SystemExit(0)\n")
    (root / "leaving.py").write_text("raise SystemExit('no')")
    monkeypatch.syspath_prepend(str(root))
    assert collect(*words, "--episodes", "2", "--out", "leaves/log-v0") == 2
    error = capsys.readouterr().err
    assert why in error and len(error.strip().splitlines()) == 1
    for module in "loose", "ending":
        sys.modules.pop(module, None)
    gymnasium.registry.pop("Leaves-v0", None)


@pytest.mark.slow
def test_kill_9_in_the_middle_loses_no_finished_episode(root: Path) -> None:
    words = [sys.executable, str(ROOT / "collect.py"), *CART[:3], "--policy", "scripted:cartpole"]
    words += ["--episodes", "150", "--num-envs", "4"]
    environment = {**os.environ, "COLUMNS": "120"}
    log = root / "minari" / "cart" / ".broken-v0.collecting" / "episodes.log"

    def size() -> int:
        return log.stat().st_size if log.exists() else 0

    for number, signal_sent in ((1, signal.SIGKILL), (2, signal.SIGTERM)):
        begun = size()
        process = subprocess.Popen(
            [*words, "--out", "cart/broken-v0"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 60
        while size() < begun + 30_000 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal_sent)
        _, error = process.communicate()
        assert size() >= begun + 30_000, f"interruption {number}"
    assert process.returncode == 130 and "of 150 episodes kept" in error
    assert len(error.strip().splitlines()) == 1
    for name in ("broken", "whole"):
        subprocess.run([*words, "--out", f"cart/{name}-v0"], env=environment, check=True)
    broken, whole = (minari.load_dataset(f"cart/{name}-v0") for name in ("broken", "whole"))
    assert broken.total_episodes == 150
    for one, other in zip(broken, whole, strict=True):
        for field in ("observations", "actions", "rewards", "terminations", "truncations"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
