"""Does a broken environment end with its name and place, and are finished episodes kept?"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from toy import Toy
from walk import make_policy

from dt.acting.rollout import RolloutFault, run_episodes
from dt.checkpoint.save import Checkpointer
from dt.collect.behaviors.acting import random_behavior
from dt.collect.gather import gather
from dt.collect.journal import Journal
from dt.collect.plan import episode_seeds
from dt.config import TrainConfig
from dt.evaluation.of_run import INCOMPLETE, Playing, card_of_run
from dt.play.faults import EnvironmentFault, Watched, closing
from dt.play.turns import play
from dt.spec.spec import PolicySpec
from dt.training.step import Learner

LENGTHS = (3, 5, 9, 4)  # of the episodes with seeds 0 to 3; number 2 breaks in its 7th step
released = threading.Event()


class Leaving(BaseException):
    """Which `except Exception` does not catch."""


class Faulty(gymnasium.Env):
    """Its seed decides how long an episode is; that of seed 2 does not get to its end."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = spaces.Box(-2.0, 2.0, (2,), np.float32)

    def __init__(self, fault: str):
        self.fault = fault

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        assert seed is not None
        self.seed, self.steps = seed % 4, 0
        if self.fault == "reset" and self.seed == 2:
            raise OSError("the server is gone\nand will not be back")
        if self.fault == "reset exits" and self.seed == 2:
            sys.exit("no more")
        return np.zeros(3, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        observation, reward = np.full(3, self.steps, np.float32), 1.0
        if self.seed == 2 and self.steps == 7:
            match self.fault:
                case "raises":
                    raise ZeroDivisionError("division by zero")
                case "exits":
                    raise SystemExit(0)
                case "leaves":
                    raise Leaving("for good")
                case "observation":
                    observation[1] = np.nan
                case "reward":
                    reward = float("inf")
                case "shape":
                    observation = np.zeros(4, np.float32)
                case "hangs":
                    released.wait(60)
        return observation, reward, self.steps == LENGTHS[self.seed], False, {}


FAULTS = {
    "raises": "step 6: raised ZeroDivisionError: division by zero",
    "exits": "step 6: raised SystemExit: 0",
    "leaves": "step 6: raised Leaving: for good",
    "observation": "step 6: observation 1 is nan",
    "reward": "step 6: gave the reward inf",
    "shape": r"step 6: observation has shape \(4,\), not \(3,\)",
    "hangs": "step 6: did not come back within 0.3 seconds",
    "reset exits": "step 0: raised SystemExit: no more",
    "reset": "step 0: raised OSError: the server is gone",
}


@pytest.fixture(autouse=True)
def _free_threads() -> Iterator[None]:
    """Let what hangs go on when its test is over."""
    released.clear()
    yield
    released.set()


def make_faulty(fault: str, num_envs: int) -> VectorEnv:
    def make() -> Faulty:
        return Faulty(fault)

    return SyncVectorEnv([make] * num_envs, autoreset_mode=AutoresetMode.DISABLED)


@pytest.mark.parametrize(("fault", "what"), FAULTS.items())
def test_a_fault_has_a_place_and_finished_episodes_are_kept(fault: str, what: str) -> None:
    """Of two rows the first takes episode 2; by its 7th step the second has ended 1 and 3."""
    targets = np.array([5.0, 6.0, 7.0, 8.0])
    timeout = 0.3 if fault == "hangs" else 0.0
    with pytest.raises(RolloutFault, match=f"row 0, episode 2, {what}") as caught:
        run_episodes(
            make_policy(), make_faulty(fault, 2), targets, np.arange(4), step_timeout=timeout
        )
    message = str(caught.value)
    assert "\n" not in message
    ended = [0] if "reset" in fault else [0, 1, 3]
    assert f"({len(ended)} of 4 episodes had ended)" in message
    kept = caught.value.finished
    np.testing.assert_array_equal(kept.targets, targets[ended])
    np.testing.assert_array_equal(kept.lengths, np.array(LENGTHS)[ended])
    np.testing.assert_array_equal(kept.returns, np.array(LENGTHS)[ended])
    assert [row["seed"] for row in caught.value.to_json()["episodes"]] == ended


def test_without_a_fault_a_time_limit_changes_nothing() -> None:
    rollouts = [
        run_episodes(
            make_policy(), make_faulty("none", 2), np.ones(4), np.arange(4), step_timeout=timeout
        )
        for timeout in (0.0, 60.0)
    ]
    np.testing.assert_array_equal(rollouts[0].lengths, LENGTHS)
    np.testing.assert_array_equal(rollouts[1].lengths, LENGTHS)


def test_what_hangs_is_not_closed() -> None:
    """Closing it could hang as well, in whoever closes it or in the garbage collector."""
    envs = make_faulty("hangs", 1)
    with pytest.raises(EnvironmentFault, match="did not come back"):
        run_episodes(make_policy(), envs, np.ones(1), np.array([2]), step_timeout=0.3)
    assert envs.closed


@pytest.mark.parametrize(("fault", "kind"), [("raises", "ZeroDiv"), ("exits", "SystemExit")])
def test_a_worker_passes_on_who_raised(fault: str, kind: str) -> None:
    """With a time limit the calls come from another thread; the place must survive that."""
    with pytest.raises(RolloutFault, match=f"row 1, episode 1, step 6: raised {kind}"):
        run_episodes(
            make_policy(),
            make_faulty(fault, 2),
            np.ones(2),
            np.array([1, 2]),
            step_timeout=60.0,
        )


def test_who_interrupts_is_heard() -> None:
    envs = Rows(KeyboardInterrupt("enough"))
    with pytest.raises(KeyboardInterrupt, match="enough"):
        run_episodes(make_policy(), envs, np.ones(2), np.arange(2))


def test_what_breaks_as_it_closes_is_told_unless_something_broke_before() -> None:
    class Stuck(Rows):
        def close_extras(self, **kwargs: Any) -> None:
            closed.append(self)
            sys.exit()

    closed: list[VectorEnv] = []
    with pytest.raises(EnvironmentFault, match="^Stuck, as it closed: raised SystemExit: System"):
        with closing(Stuck(), Stuck()):
            pass
    assert len(closed) == 2
    with pytest.raises(EnvironmentFault, match="broke before"):
        with closing(Stuck()):
            raise EnvironmentFault("broke before")
    assert len(closed) == 3


def test_an_idle_row_s_numbers_do_not_matter() -> None:
    """Row 1 has no episode left and plays seed 2's again, into its NaN."""
    envs = make_faulty("observation", 2)
    seeds = np.array([2, 1, 1, 1])  # the idle row follows episode 0's seed

    def act(observations: np.ndarray) -> np.ndarray:
        return np.zeros((2, 2), np.float32)

    with pytest.raises(EnvironmentFault, match="row 0, episode 0, step 6: observation 1 is nan"):
        for _ in play(envs, seeds, lambda rows, episodes: None, act):
            pass
    steps = list(play(make_faulty("reward", 2), np.array([1]), lambda rows, episodes: None, act))
    assert len(steps) == LENGTHS[1]


def test_an_action_that_is_no_number_reaches_no_environment() -> None:
    envs = make_faulty("none", num_envs=2)

    def act(observations: np.ndarray) -> np.ndarray:
        actions = np.zeros((2, 2), np.float32)
        actions[1, 0] = np.nan if observations[1, 0] == 2 else 0.0
        return actions

    steps = play(envs, np.array([0, 1]), lambda where, episodes: None, act)
    place = r"row 1, episode 1, step 2: the policy's action is \[nan +0\.\]; its weights, or what"
    with pytest.raises(EnvironmentFault, match=place):
        list(steps)


@pytest.mark.parametrize(
    ("space", "none"),
    [
        (spaces.Discrete(3), -1),
        (spaces.Discrete(3, start=-1), -2),
        (spaces.MultiDiscrete([2, 3]), [1, -1]),
        (spaces.MultiBinary(2), [-1, 0]),
        (spaces.Dict(a=spaces.Discrete(2), b=spaces.Box(-1, 1, (1,))), {"a": -1, "b": [0.0]}),
        (spaces.Dict(a=spaces.Discrete(2), b=spaces.Box(-1, 1, (1,))), {"a": 0, "b": [np.nan]}),
        (spaces.Box(-5, 5, (2,), np.int64), [0.0, np.nan]),
    ],
)
def test_a_choice_that_is_none_reaches_no_environment(space: spaces.Space, none: Any) -> None:
    def make() -> gymnasium.Env:
        return Toy(spaces.Box(-1, 1, (2,), np.float32), space)

    envs = SyncVectorEnv([make] * 2, autoreset_mode=AutoresetMode.DISABLED)
    actions = [space.sample(), space.sample()]
    watched = Watched(envs)
    watched.reset(np.ones(2, bool), [0, 1])
    watched.episodes[:] = [3, 4]

    def batch() -> Any:
        if isinstance(space, spaces.Dict):
            return {key: np.array([each[key] for each in actions]) for key in ("a", "b")}
        return np.array(actions)

    watched.step(batch())
    actions[1] = none
    with pytest.raises(EnvironmentFault, match=r"row 1, episode 4, step 0: the policy's action"):
        watched.step(batch())


class Rows(VectorEnv):
    """Rows that are no environments of their own, of which the third observation is too long."""

    num_envs = 2
    single_observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    single_action_space = spaces.Box(-2.0, 2.0, (2,), np.float32)
    observation_space = spaces.Box(-np.inf, np.inf, (2, 3), np.float32)
    action_space = spaces.Box(-2.0, 2.0, (2, 2), np.float32)
    metadata = {"autoreset_mode": AutoresetMode.DISABLED}

    def __init__(self, error: BaseException | None = None):
        self.error = error
        self.count = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        return np.zeros((2, 3), np.float32), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, Any, Any, Any, dict[str, Any]]:
        self.count += 1
        if self.error and self.count == 3:
            raise self.error
        shape = (2, 3 if self.count < 3 else 4)
        ends = np.zeros(2, bool)
        return np.zeros(shape, np.float32), np.zeros(2), ends, ends, {}


def test_a_vector_of_rows_is_named_as_a_whole() -> None:
    with pytest.raises(RolloutFault, match=r"Rows, .*have shape \(2, 4\), not \(2, 3\)"):
        run_episodes(make_policy(), Rows(), np.ones(2), np.arange(2))
    with pytest.raises(RolloutFault, match="Rows, row unknown: raised KeyError: 'body'"):
        run_episodes(make_policy(), Rows(KeyError("body")), np.ones(2), np.arange(2))


def test_a_collection_keeps_its_episodes_too(tmp_path: Path) -> None:
    numbers = np.arange(8)
    broken = int(np.argmax(episode_seeds(1, numbers) % 4 == 2))
    assert broken > 0
    with Journal(tmp_path / "log") as journal:
        behavior = random_behavior(Faulty.action_space)
        with pytest.raises(EnvironmentFault, match=f"episode {broken}, step 6: raised ZeroDiv"):
            gather(behavior, make_faulty("raises", 1), numbers, 1, journal)
        assert [number for number in range(8) if number in journal] == list(range(broken))


@pytest.fixture
def _registered() -> Iterator[None]:
    gymnasium.register("Faulty-v0", lambda **_: Faulty("raises"), disable_env_checker=True)
    yield
    del gymnasium.registry["Faulty-v0"]


@pytest.mark.slow
@pytest.mark.usefixtures("_registered")
def test_a_card_that_cannot_be_leaves_the_finished_episodes_in_the_run(
    tmp_path: Path, tiny_spec: PolicySpec, tiny_config: TrainConfig
) -> None:
    learner = Learner(tiny_spec, tiny_config)
    checkpointer = Checkpointer(tmp_path, tiny_spec, 1)
    checkpointer.save(learner.init())
    checkpointer.wait()
    with pytest.raises(EnvironmentFault) as caught:
        card_of_run(tmp_path, [1.0, 2.0], 12, Playing(env_id="Faulty-v0", seed=1))
    message = str(caught.value)
    assert "Faulty-v0, row" in message and f"kept in {tmp_path / INCOMPLETE}" in message
    kept = json.loads((tmp_path / INCOMPLETE).read_text())
    assert kept["env_id"] == "Faulty-v0" and "ZeroDivisionError" in kept["fault"]
    assert 0 < len(kept["episodes"]) < 24
    for episode in kept["episodes"]:
        assert episode["length"] == episode["return"] == LENGTHS[episode["seed"] % 4]
