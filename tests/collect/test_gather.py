"""Does a collection hold what was planned, whatever happened on the way?"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import minari
import numpy as np
import pytest
from gymnasium import spaces

from dt.collect.behaviors.acting import Behavior, random_behavior, with_noise
from dt.collect.gather import play_plan
from dt.collect.plan import LOG, PLAN, Plan, new_dataset_folder, open_collection
from dt.collect.publish import Outcome, publish
from dt.data import load_dataset
from dt.play.make import make_envs

ACTIONS = spaces.Box(-2.0, 2.0, (2,), np.float32)


class Stroll(gymnasium.Env):
    """Ends after 3 to 12 steps, as its seed decides, by itself or by the clock."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = ACTIONS

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}

    def __init__(self, pace: float = 1.0, render_mode: str | None = None) -> None:
        self.pace, self.render_mode = pace, render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(3, 13))
        self.by_the_clock = bool(self.np_random.integers(2))
        self.position = self.np_random.normal(size=3)
        return self.position, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.left > 0, "stepped after its end"
        self.left -= 1
        self.position = self.position + self.pace * float(action.sum())
        over = self.left == 0
        ends = over and not self.by_the_clock, over and self.by_the_clock
        return self.position, 1.0 + float(action[0]), *ends, {}

    def render(self) -> np.ndarray:
        return np.full((4, 5, 3), self.left, np.uint8)


if "test/Stroll-v0" not in gymnasium.registry:
    gymnasium.register("test/Stroll-v0", f"{__name__}:Stroll", max_episode_steps=10)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


class Counter:
    """Says how often its row has acted in this episode, and raises when told to."""

    def __init__(self, stop_after: int = -1) -> None:
        self.left = stop_after

    def behavior(self) -> Behavior:
        return Behavior("counter", self.act, self.start)

    def start(self, rows: np.ndarray, rngs: list[np.random.Generator]) -> None:
        self.count = np.where(rows, 0, getattr(self, "count", 0))

    def act(self, observations: np.ndarray, rngs: list[np.random.Generator]) -> np.ndarray:
        self.left -= 1
        if self.left == -1:
            raise KeyboardInterrupt
        self.count = self.count + 1
        drawn = np.array([rng.uniform(-1, 1) for rng in rngs])
        return np.stack([self.count / 100, drawn], axis=1).astype(np.float32)


def make_plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "env_id": "test/Stroll-v0",
        "env_kwargs": {"pace": 0.5},
        "policies": ["counter", "random"],
        "file_hashes": ["", ""],
        "episodes": [7, 4],
        "noise": 0.0,
        "deterministic": False,
        "num_envs": 3,
        "seed": 5,
    }
    return Plan(**{**values, **changes})


def collect(
    dataset_id: str = "test/stroll-v0", stop_after: int = -1, **changes: Any
) -> list[Outcome]:
    plan = make_plan(**changes)
    envs = make_envs(plan.env_id, plan.num_envs, plan.env_kwargs)
    behaviors = [Counter(stop_after).behavior(), random_behavior(ACTIONS)]
    try:
        with open_collection(dataset_id, plan) as collection:
            play_plan(collection, [with_noise(b, plan.noise, ACTIONS) for b in behaviors], envs)
            return publish(collection, envs)
    finally:
        envs.close()


def content(dataset_id: str = "test/stroll-v0") -> dict[str, Any]:
    """Everything in the HDF5 file: arrays as bytes, and attributes."""
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        found[name] = {key: str(value) for key, value in item.attrs.items()}
        if isinstance(item, h5py.Dataset):
            found[name] |= {"shape": item.shape, "bytes": item[()].tobytes()}

    with h5py.File(new_folder(dataset_id) / "data" / "main_data.hdf5") as file:
        file.visititems(visit)
    return found


def new_folder(dataset_id: str) -> Path:
    return Path(os.environ["MINARI_DATASETS_PATH"]) / dataset_id


def test_the_data_set_is_what_the_environment_did() -> None:
    outcomes = collect()
    dataset = minari.load_dataset("test/stroll-v0")
    assert dataset.total_episodes == 11
    metadata = list(dataset.storage.get_episode_metadata(range(11)))
    assert [m["policy"] for m in metadata] == ["counter"] * 7 + ["random"] * 4
    assert len({m["seed"] for m in metadata}) == 11
    ends = set()
    for episode, facts in zip(dataset, metadata, strict=True):
        env = gymnasium.make("test/Stroll-v0", pace=0.5)
        seen, _ = env.reset(seed=facts["seed"])
        assert len(episode.observations) == len(episode.actions) + 1
        np.testing.assert_array_equal(episode.observations[0], seen)
        for t, action in enumerate(episode.actions):
            seen, reward, terminated, truncated, _ = env.step(action)
            np.testing.assert_array_equal(episode.observations[t + 1], seen)
            assert episode.rewards[t] == reward
            assert (episode.terminations[t], episode.truncations[t]) == (terminated, truncated)
        assert terminated or truncated
        ends.add((terminated, truncated))
    assert len(ends) == 2
    assert [outcome.policy for outcome in outcomes] == ["counter", "random"]
    returns = [float(episode.rewards.sum()) for episode in dataset]
    np.testing.assert_allclose(np.concatenate([o.returns for o in outcomes]), returns)
    assert sum(o.lengths.sum() for o in outcomes) == dataset.total_steps


def test_a_behavior_that_watches_sees_the_screen_of_the_step_it_acts_in() -> None:
    def act(screens: np.ndarray, rngs: list[np.random.Generator]) -> np.ndarray:
        assert screens.shape[1:] == (4, 5, 3)
        return np.repeat(screens[:, 0, 0, :1] / 10, 2, axis=1).astype(np.float32)

    plan = make_plan(policies=["watcher"], file_hashes=[""], episodes=[5])
    envs = make_envs(plan.env_id, plan.num_envs, {**plan.env_kwargs, "render_mode": "rgb_array"})
    with open_collection("test/stroll-v0", plan) as collection:
        play_plan(collection, [Behavior("watcher", act, watches=True)], envs)
        publish(collection, envs)
    envs.close()
    for episode in load_dataset("test/stroll-v0"):
        left = np.round(episode.actions[:, 0] * 10)
        np.testing.assert_array_equal(left, left[0] - np.arange(len(left)))
    assert load_dataset("test/stroll-v0").env_kwargs == plan.env_kwargs


def test_training_finds_the_environment_and_its_arguments() -> None:
    collect(env_kwargs={"pace": 0.5, "max_episode_steps": 6})
    dataset = load_dataset("test/stroll-v0")
    assert dataset.env_id == "test/Stroll-v0"
    assert dataset.env_kwargs == {"pace": 0.5, "max_episode_steps": 6}
    assert dataset.lengths.max() == 6 and len(dataset) == 11
    assert dataset.action_space == ACTIONS
    env = minari.load_dataset("test/stroll-v0").recover_environment()
    assert env.unwrapped.pace == 0.5 and env.spec.max_episode_steps == 6


def test_who_collected_it_is_written_beside_the_data(root: Path) -> None:
    collect(noise=0.25)
    metadata = minari.load_dataset("test/stroll-v0").storage.metadata
    assert metadata["algorithm_name"] == "counter, random"
    assert "7 of counter, 4 of random; sampled actions, noise 0.25" in metadata["description"]
    plan = json.loads((root / "test" / "stroll-v0" / PLAN).read_text())
    assert plan["seed"] == 5 and plan["episodes"] == [7, 4]
    assert not list(root.rglob(".*"))  # the work folder is gone


def test_an_episode_does_not_depend_on_how_many_are_played_at_once() -> None:
    collect("test/three-v0")
    for num_envs in (1, 16):
        collect(f"test/other-v{num_envs}", num_envs=num_envs)
        assert content(f"test/other-v{num_envs}") == content("test/three-v0")
    collect("test/other-v9", seed=6)
    assert content("test/other-v9") != content("test/three-v0")


def test_an_interrupted_collection_goes_on_and_ends_as_an_unbroken_one(root: Path) -> None:
    collect("test/whole-v0")
    kept = []
    for stop_after in (0, 5, 3, 9):
        with pytest.raises(KeyboardInterrupt, match="of 11 episodes kept; the same command"):
            collect(stop_after=stop_after)
        assert not (root / "test" / "stroll-v0").exists()
        kept.append((root / "test" / ".stroll-v0.collecting" / LOG).stat().st_size)
    assert kept == sorted(kept) and kept[0] == 0 < kept[-1]
    collect()
    assert content() == content("test/whole-v0")


def test_a_kill_while_the_data_set_is_written_costs_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect("test/whole-v0")

    def killed(*args: Any) -> None:
        raise SystemError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("dt.collect.publish.place_minari", killed)
        with pytest.raises(SystemError):
            collect()
    assert (root / "test" / ".stroll-v0.collecting" / "finished").exists()
    assert not (root / "test" / "stroll-v0").exists()
    collect(stop_after=0)  # nothing is left to play
    assert content() == content("test/whole-v0")


def test_a_taken_id_is_refused_and_what_a_kill_left_beside_it_removed(root: Path) -> None:
    collect()
    before = content()
    leftover = root / "test" / ".stroll-v0.collecting"
    leftover.mkdir()
    (leftover / PLAN).write_text((root / "test" / "stroll-v0" / PLAN).read_text())
    with pytest.raises(ValueError, match="--out test/stroll-v0: .*exists; give another name"):
        collect(seed=6)
    assert not leftover.exists() and content() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 6}, "half collected with seed 5, not 6; give that again or another --out"),
        ({"noise": 0.1}, "with noise 0.0, not 0.1"),
        ({"episodes": [6, 5]}, r"with episodes \[7, 4\], not \[6, 5\]"),
        ({"env_kwargs": {}}, r"with env kwargs {'pace': 0.5}, not {}"),
        ({"file_hashes": ["ab", ""]}, "with file hashes"),
        ({"num_envs": 4}, "with num envs 3, not 4"),
        ({"past_end": "clamp"}, "with past end error, not clamp"),
    ],
)
def test_another_command_for_half_done_work_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        collect(stop_after=9)
    with pytest.raises(ValueError, match=message):
        collect(**changes)
    collect()


def test_a_plan_that_does_not_say_what_runs_do_past_the_end_holds_what_it_did(root: Path) -> None:
    """As the first plans are."""
    with pytest.raises(KeyboardInterrupt):
        collect(stop_after=9)
    file = root / "test" / ".stroll-v0.collecting" / PLAN
    plan = json.loads(file.read_text())
    del plan["past_end"]
    file.write_text(json.dumps(plan))
    with pytest.raises(ValueError, match="with past end error, not clamp"):
        collect(past_end="clamp")
    collect()


def test_a_plan_of_which_nothing_was_played_binds_nobody() -> None:
    with pytest.raises(KeyboardInterrupt, match="0 of 11"):
        collect(stop_after=0)
    collect(seed=6)


def test_two_at_once_do_not_mix() -> None:
    with open_collection("test/stroll-v0", make_plan()):
        with pytest.raises(ValueError, match="another process is collecting"):
            collect()


@pytest.mark.parametrize("dataset_id", ["stroll", "../stroll-v0", "a b-v0", "stroll-v0.npz", ""])
def test_a_malformed_id_is_refused(root: Path, dataset_id: str) -> None:
    with pytest.raises(ValueError, match="(?i)not the form of a Minari id|malformed dataset id"):
        new_dataset_folder(dataset_id)
    assert not list(root.iterdir())
