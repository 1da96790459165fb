"""Do behaviors act as their files say, row by row, whoever else is in the batch?"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces
from tiny import make_config, make_dataset

from dt.acting.policy import ReturnConditionedPolicy
from dt.collect.behaviors.acting import Behavior, random_behavior, with_noise
from dt.collect.behaviors.network import sample_logits
from dt.collect.behaviors.sources import load_behavior
from dt.data import TrainingData
from dt.model.decision_transformer import DecisionTransformer
from dt.spec.spec import PolicySpec
from envs import PLAYERS

SEEN = spaces.Box(-np.inf, np.inf, (3,), np.float64)
BOX = spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 10.0], np.float32))
FOUR = spaces.Discrete(4, start=5)


def generators(count: int, first: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng(first + row) for row in range(count)]


def write_actor(path: Path, outputs: int = 2, **changes: Any) -> Path:
    """A tanh actor of random weights; a change of None takes a key away."""
    rng = np.random.default_rng(0)
    arrays = {
        "w0": rng.normal(size=(8, 3)).astype(np.float32),
        "b0": rng.normal(size=8).astype(np.float32),
        "w1": rng.normal(size=(outputs, 8)).astype(np.float32),
        "b1": rng.normal(size=outputs).astype(np.float32),
        "activation": "tanh",
        "kind": "gauss",
        "log_std": np.array([-1.0, 0.5], np.float32),
        "log_std_w": (rng.normal(size=(outputs, 8)) / 10).astype(np.float32),
        "log_std_b": (rng.normal(size=outputs) / 10).astype(np.float32),
        **changes,
    }
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def load(
    word: str,
    action_space: spaces.Space = BOX,
    observation_space: spaces.Space = SEEN,
    deterministic: bool = False,
) -> Behavior:
    return load_behavior(
        word, observation_space, action_space, deterministic=deterministic, players=PLAYERS
    )


def by_hand(path: Path, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hidden layer and outputs, in float64."""
    a = {key: value for key, value in np.load(path).items() if value.dtype.kind == "f"}
    hidden = np.tanh(observations @ a["w0"].astype(np.float64).T + a["b0"])
    return hidden, hidden @ a["w1"].astype(np.float64).T + a["b1"]


def test_the_mean_of_a_gaussian_actor_is_clipped_to_the_space(tmp_path: Path) -> None:
    path = write_actor(tmp_path / "actor.npz")
    observations = np.random.default_rng(1).normal(size=(20, 3))
    actions = load(f"npz:{path}", deterministic=True).act(observations, generators(20))
    _, outputs = by_hand(path, observations)
    np.testing.assert_allclose(actions, np.clip(outputs, BOX.low, BOX.high), rtol=1e-5, atol=1e-5)
    assert actions.dtype == BOX.dtype and (outputs < BOX.low).any()


def test_a_squashed_actor_fills_the_space(tmp_path: Path) -> None:
    path = write_actor(tmp_path / "actor.npz", kind="squash")
    observations = np.random.default_rng(1).normal(size=(20, 3))
    actions = load(f"npz:{path}", deterministic=True).act(observations, generators(20))
    _, outputs = by_hand(path, observations)
    expected = np.stack([np.tanh(outputs[:, 0]), 5 + 5 * np.tanh(outputs[:, 1])], axis=1)
    np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["gauss", "squash"])
def test_samples_have_the_deviation_of_the_file(tmp_path: Path, kind: str) -> None:
    wide = spaces.Box(-100.0, 100.0, (2,), np.float32)
    path = write_actor(tmp_path / "actor.npz", kind=kind)
    observations = np.tile([0.1, -0.2, 0.05], (4000, 1))
    actions = load(f"npz:{path}", wide).act(observations, generators(4000)).astype(np.float64)
    hidden, mean = by_hand(path, observations[:1])
    arrays = np.load(path)
    log_std = arrays["log_std"]
    if kind == "squash":
        actions = np.arctanh(np.clip(actions / 100, -1 + 1e-7, 1 - 1e-7))
        log_std = np.clip(hidden[0] @ arrays["log_std_w"].T + arrays["log_std_b"], -20, 2)
    np.testing.assert_allclose(actions.mean(axis=0), mean[0], atol=5 * np.exp(log_std).max() / 60)
    np.testing.assert_allclose(actions.std(axis=0), np.exp(log_std), rtol=0.06)


def test_observations_are_normalised_and_clipped_first(tmp_path: Path) -> None:
    statistics: dict[str, Any] = {
        "obs_mean": np.array([1.0, 2.0, 3.0]),
        "obs_var": np.array([4.0, 9.0, 0.0]),
        "clip_obs": np.array(1.5),
        "eps": np.array(1e-8),
    }
    path = write_actor(tmp_path / "actor.npz", **statistics)
    observations = np.array([[2.0, -1.0, 3.0], [500.0, 2.0, 4.0]])
    actions = load(f"npz:{path}", deterministic=True).act(observations, generators(2))
    _, outputs = by_hand(path, np.array([[0.5, -1.0, 0.0], [1.5, 0.0, 1.5]]))
    np.testing.assert_allclose(actions, np.clip(outputs, BOX.low, BOX.high), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["q", "linear", "cat"])
def test_discrete_actors_name_actions_of_the_space(tmp_path: Path, kind: str) -> None:
    path = write_actor(tmp_path / "actor.npz", outputs=4, kind=kind)
    observations = np.random.default_rng(1).normal(size=(30, 3))
    _, outputs = by_hand(path, observations)
    actions = load(f"npz:{path}", FOUR, deterministic=True).act(observations, generators(30))
    np.testing.assert_array_equal(actions, outputs.argmax(axis=1) + 5)
    sampled = load(f"npz:{path}", FOUR).act(observations, generators(30))
    assert (sampled != actions).any() == (kind == "cat")


def test_logits_are_drawn_in_proportion_to_their_exponentials() -> None:
    chances = np.array([0.1, 0.0, 0.6, 0.3])
    with np.errstate(divide="ignore"):
        logits = np.tile(np.log(chances) + 7, (5000, 1))
    counts = np.bincount(sample_logits(logits, generators(5000)), minlength=4)
    assert counts[1] == 0
    np.testing.assert_allclose(counts / 5000, chances, atol=5 * 0.5 / 5000**0.5)


@pytest.mark.parametrize(
    ("word", "action_space"),
    [("random", BOX), ("random", FOUR), ("npz:actor.npz", BOX), ("npz:cat.npz", FOUR)],
)
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_row_does_not_depend_on_the_others(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    word: str,
    action_space: spaces.Space,
    noise: float,
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    wide: dict[str, Any] = {"w0": rng.normal(size=(200, 3)), "b0": rng.normal(size=200)}
    write_actor(tmp_path / "actor.npz", kind="gauss", **wide, w1=rng.normal(size=(2, 200)))
    write_actor(tmp_path / "cat.npz", 4, kind="cat", **wide, w1=rng.normal(size=(4, 200)))
    behavior = with_noise(load(word, action_space), noise, action_space)
    observations = rng.normal(size=(33, 3))
    together = behavior.act(observations, generators(33))
    for row in range(33):
        alone = behavior.act(observations[row : row + 1], generators(1, row))
        np.testing.assert_array_equal(alone[0], together[row])
        assert action_space.contains(together[row])


@pytest.mark.parametrize(
    ("space", "different"),
    [
        (FOUR, 4),
        (spaces.MultiDiscrete([2, 5]), 10),
        (spaces.MultiBinary(3), 8),
        (spaces.Box(0, 3, (2,), np.uint8), 16),
    ],
)
def test_random_choices_cover_the_space(space: spaces.Space, different: int) -> None:
    actions = random_behavior(space).act(np.zeros((800, 3)), generators(800))
    assert all(space.contains(action) for action in actions)
    _, counts = np.unique(actions.reshape(800, -1), axis=0, return_counts=True)
    np.testing.assert_allclose(counts, np.full(different, 800 / different), atol=5 * 800**0.5 / 2)


def test_random_numbers_are_uniform_between_the_bounds() -> None:
    actions = random_behavior(BOX).act(np.zeros((800, 3)), generators(800))
    assert all(BOX.contains(action) for action in actions)
    np.testing.assert_allclose(actions.mean(axis=0), [0.0, 5.0], atol=0.6)
    np.testing.assert_allclose(actions.std(axis=0), [3**-0.5, 5 * 3**-0.5], rtol=0.1)


def test_noise_on_numbers_is_gaussian_in_halves_of_their_range() -> None:
    still = Behavior(
        "still", lambda seen, _: np.tile(np.array([0.0, 5.0], np.float32), (len(seen), 1))
    )
    actions = with_noise(still, 0.1, BOX).act(np.zeros((4000, 3)), generators(4000))
    np.testing.assert_allclose(actions.std(axis=0), [0.1, 0.5], rtol=0.06)
    loud = with_noise(still, 50.0, BOX).act(np.zeros((100, 3)), generators(100))
    assert all(BOX.contains(action) for action in loud)


def test_noise_on_choices_is_the_chance_of_a_random_one() -> None:
    fives = Behavior("fives", lambda seen, _: np.full(len(seen), 5))
    actions = with_noise(fives, 0.4, FOUR).act(np.zeros((4000, 3)), generators(4000))
    # A quarter of the random ones are fives too.
    assert (actions != 5).mean() == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: with_noise(random_behavior(FOUR), 1.5, FOUR), "--noise is 1.5.*from 0 to 1"),
        (lambda: with_noise(Behavior("x", lambda o, _: o), 0.1, SEEN), "--noise 0.1.*not bounded"),
        (lambda: random_behavior(SEEN), "--policy random.*not bounded"),
        (lambda: load("randm"), "'randm' is none of random, scripted:NAME"),
        (lambda: load("npz:"), "'npz:' is none of"),
        (lambda: load("run:somewhere"), "'run:somewhere' is none of"),
        (lambda: load("npz:none.npz"), "there is no file none.npz"),
        (lambda: load("scripted:chess"), "no such player; there is cartpole"),
        (lambda: load("scripted:cartpole"), "reads 4 numbers and pushes left or right"),
        (lambda: load("run:nowhere@100"), "holds no checkpoint"),
    ],
)
def test_what_cannot_act_is_refused_by_name(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"w0": None}, "actor.npz: has no key 'w0'"),
        ({"kind": None}, "has no key 'kind'"),
        ({"kind": "cat"}, "2 outputs of kind 'cat'.*need one of squash, gauss, linear"),
        ({"activation": "gelu"}, "activation is 'gelu'"),
        ({"b1": np.zeros(3)}, "w1 and b1 need shapes"),
        ({"w1": np.zeros((2, 9))}, "w1 reads 9 numbers, the layer before it has 8"),
        ({"log_std": None}, r"kind 'gauss' needs log_std of shape \(2,\)"),
        ({"kind": "squash", "log_std_b": None}, "needs log_std_b"),
        ({"obs_mean": np.zeros(3)}, "normalised observations need obs_var"),
        ({"timefeature": np.array(True)}, "reads the time"),
        ({"w0": np.zeros((8, 5))}, "observations of 5 numbers, but the environment's are Box"),
        ({"w1": np.zeros((3, 8)), "b1": np.zeros(3)}, "has 3 outputs.*actions are Box"),
        ({"w0": np.array([None])}, "not a readable npz of plain arrays"),
    ],
)
def test_a_file_that_is_no_actor_for_these_spaces_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = write_actor(tmp_path / "actor.npz", **changes)
    with pytest.raises(ValueError, match=message):
        load(f"npz:{path}")


def test_the_scripted_player_has_a_skill_of_its_own_in_each_episode() -> None:
    env = gymnasium.make("CartPole-v1")
    cart, push = env.observation_space, env.action_space
    player = load("scripted:cartpole", push, cart)
    best = load("scripted:cartpole", push, cart, deterministic=True)
    rngs = generators(50)
    player.start(np.ones(50, bool), rngs)
    leaning = np.tile(np.array([0.0, 0.0, 0.1, 0.0], np.float32), (50, 1))
    assert (best.act(leaning, rngs) == 1).all()
    early = np.mean([(player.act(leaning, rngs) == 1).mean() for _ in range(3)])
    late = np.mean([(player.act(leaning, rngs) == 1).mean() for _ in range(300)])
    assert early > 0.8 and late < 0.7
    rows = np.arange(50) < 25
    player.start(rows, rngs)
    again = player.act(leaning, rngs) == 1
    assert again[rows].mean() > 0.75 > again[~rows].mean()


@pytest.fixture
def fake_sb3(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The part of Stable-Baselines3 and PyTorch that is called, with one model in every file."""
    seeds: list[int] = []
    torch, top = ModuleType("torch"), ModuleType("stable_baselines3")
    common = ModuleType("stable_baselines3.common")
    save_util = ModuleType("stable_baselines3.common.save_util")

    class Policy:
        def __init__(self, seen: Any, actions: Any, schedule: Any, use_sde: bool, width: int = 1):
            assert use_sde and width == 64
            self.observation_space, self.action_space = seen, actions

        def load_state_dict(self, weights: dict[str, float]) -> None:
            self.weight = weights["w"]

        def set_training_mode(self, mode: bool) -> None:
            assert not mode

        def predict(self, seen: np.ndarray, deterministic: bool) -> tuple[np.ndarray, None]:
            noise = 0.0 if deterministic else np.random.default_rng(seeds[-1]).normal()
            return np.clip(self.weight * seen[:2] + noise, BOX.low, BOX.high), None

    data = {
        "policy_class": Policy,
        "policy_kwargs": {"width": 64, "device": "cuda"},
        "use_sde": True,
        "observation_space": SEEN,
        "action_space": BOX,
    }
    torch.manual_seed = seeds.append  # type: ignore[attr-defined]
    save_util.load_from_zip_file = (  # type: ignore[attr-defined]
        lambda path, device: (data, {"policy": {"w": 2.0}}, None)
    )
    for module in (torch, top, common, save_util):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return seeds


def test_an_sb3_model_samples_from_its_row_s_generator(tmp_path: Path, fake_sb3: list[int]) -> None:
    path = tmp_path / "ppo.zip"
    path.write_bytes(b"a model")
    observations = np.array([[0.1, 3.0, 0.0], [0.2, 1.0, 0.0]])
    mean = load(f"sb3:{path}", deterministic=True).act(observations, generators(2))
    np.testing.assert_allclose(mean, [[0.2, 6.0], [0.4, 2.0]], rtol=1e-6)
    behavior = load(f"sb3:{path}")
    together = behavior.act(observations, generators(2))
    alone = behavior.act(observations[1:], generators(1, 1))
    np.testing.assert_array_equal(alone[0], together[1])
    assert (together != mean).all() and behavior.name == "sb3:ppo"
    with pytest.raises(ValueError, match=r"ppo.zip: its actions are Box.*environment's are Disc"):
        load(f"sb3:{path}", FOUR)


def test_without_the_extra_an_sb3_model_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "ppo.zip").write_bytes(b"a model")
    with pytest.raises(ValueError, match=r"needs stable-baselines3.*dt-steer\[sb3\]"):
        load(f"sb3:{tmp_path / 'ppo.zip'}")


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of a tiny policy that is not read from files, for those are tested elsewhere."""
    import dt.collect.behaviors.steered as steered

    spec = PolicySpec.of(
        TrainingData.of(make_dataset([7, 2, 11])), make_config().model, max_episode_steps=40
    )
    params = nnx.state(DecisionTransformer(spec, rngs=nnx.Rngs(0)))
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "manifest.json").write_text("{}")
    monkeypatch.setattr(steered, "find_checkpoint", lambda run_dir: tmp_path / "4")
    monkeypatch.setattr(
        steered,
        "load_policy",
        lambda run_dir, step, options: ReturnConditionedPolicy(params, spec, options),
    )
    return tmp_path


TWO = spaces.Box(-2.0, 2.0, (2,), np.float32)


@pytest.mark.slow
def test_a_run_acts_for_the_return_it_is_asked_for(run_dir: Path) -> None:
    observations = np.random.default_rng(0).normal(3.0, 2.0, (2, 3)).astype(np.float32)
    actions = []
    for target in ("0.5", "3", "p100"):
        behavior = load(f"run:{run_dir}@{target}", TWO, SEEN)
        behavior.start(np.ones(2, bool), generators(2))
        actions.append(behavior.act(observations, generators(2)))
    assert behavior.name == f"run:{run_dir.name}@p100"
    assert (actions[0] != actions[1]).all() and (actions[1] != actions[2]).any()
    with pytest.raises(ValueError, match="asks for 3 returns"):
        load(f"run:{run_dir}@1:5:3", TWO, SEEN)
    with pytest.raises(ValueError, match="observation space.*trained on"):
        load(f"run:{run_dir}@9", TWO, BOX)


@pytest.mark.slow
def test_a_run_goes_on_past_the_end_where_it_is_asked_to(run_dir: Path) -> None:
    observations, rewards = np.zeros((1, 3), np.float32), np.ones(1)
    for past_end in ("error", "clamp"):
        word = f"run:{run_dir}@9"
        behavior = load_behavior(word, SEEN, TWO, past_end=past_end, players=PLAYERS)
        behavior.start(np.ones(1, bool), generators(1))
        for _ in range(40):  # the longest that the policy knows
            behavior.observe(rewards, behavior.act(observations, generators(1)))
        if past_end == "clamp":
            assert np.isfinite(behavior.act(observations, generators(1))).all()
        else:
            with pytest.raises(ValueError, match="past the longest .* 40; .*--past-end clamp"):
                behavior.act(observations, generators(1))


def test_a_run_remembers_the_actions_that_noise_put_in_place_of_its_own(run_dir: Path) -> None:
    observations = np.random.default_rng(0).normal(3.0, 2.0, (3, 2, 3)).astype(np.float32)

    def second_actions(disturb: float) -> np.ndarray:
        behavior = load(f"run:{run_dir}@9", TWO, SEEN)
        behavior.start(np.ones(2, bool), generators(2))
        for t in range(2):
            actions = behavior.act(observations[t], generators(2))
            behavior.observe(np.ones(2), actions + np.array([[disturb], [0.0]], np.float32))
        return behavior.act(observations[2], generators(2))

    assert (second_actions(0.0)[0] != second_actions(0.5)[0]).all()
    np.testing.assert_allclose(second_actions(0.0)[1], second_actions(0.5)[1], atol=1e-5)


def test_what_a_player_s_arrays_declare_is_held_against_their_bytes(tmp_path: Path) -> None:
    content = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (2**40,)}
    np.lib.format.write_array_header_1_0(content, header)
    with zipfile.ZipFile(tmp_path / "player.npz", "w") as archive:
        archive.writestr("w0.npy", content.getvalue())
    box = spaces.Box(-1.0, 1.0, (2,), np.float32)
    with pytest.raises(ValueError, match=r"player\.npz: w0 declares .* the file holds 0 bytes"):
        load_behavior(f"npz:{tmp_path / 'player.npz'}", box, box, players={})
