"""Are rows on MuJoCo's threads the very episodes that Gymnasium's own environments play?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from dt.play.make import make_envs
from envs import THREADED
from envs.mujoco_threads import MujocoVectorEnv, unwarned

pytestmark = pytest.mark.filterwarnings("ignore:.*is out of date.*")


def make_pair(
    env_id: str,
    num_envs: int = 3,
    autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    **kwargs: Any,
) -> tuple[VectorEnv, VectorEnv]:
    """Gymnasium's environments one after another, and ours."""
    vector_kwargs = {"autoreset_mode": autoreset_mode}
    with unwarned():
        theirs = gymnasium.make_vec(env_id, num_envs, "sync", vector_kwargs, **kwargs)
    return theirs, make_threaded(env_id, num_envs, autoreset_mode=autoreset_mode, **kwargs)


def make_threaded(env_id: str, num_envs: int = 3, **kwargs: Any) -> VectorEnv:
    return gymnasium.make_vec(env_id, num_envs, "vector_entry_point", **kwargs)


def assert_same(theirs: Any, ours: Any) -> None:
    """Equal to the last bit, in values, types and names, however deep."""
    if isinstance(theirs, dict):
        assert theirs.keys() == ours.keys()
        for key in theirs:
            assert_same(theirs[key], ours[key])
    elif isinstance(theirs, tuple):
        assert len(theirs) == len(ours)
        for one, other in zip(theirs, ours, strict=True):
            assert_same(one, other)
    elif theirs.dtype == object:
        assert [x is None for x in theirs] == [x is None for x in ours]
        assert_same(
            *(tuple(x for x in array if x is not None) for array in (theirs, ours)),
        )
    else:
        assert theirs.dtype == ours.dtype
        np.testing.assert_array_equal(theirs, ours)


def walk_together(
    theirs: VectorEnv, ours: VectorEnv, num_steps: int, dtype: type = np.float32
) -> int:
    """Step both with the same random actions, reset by hand where they ask for it; count ends."""
    space: Any = theirs.single_action_space
    assert (theirs.single_observation_space, space) == (
        ours.single_observation_space,
        ours.single_action_space,
    )
    assert (theirs.observation_space, theirs.action_space) == (
        ours.observation_space,
        ours.action_space,
    )
    rng = np.random.default_rng(0)
    assert_same(theirs.reset(seed=3), ours.reset(seed=3))
    num_ends = 0
    for t in range(num_steps):
        uniform = rng.uniform(space.low, space.high, theirs.action_space.shape)
        actions: np.ndarray = uniform.astype(dtype)
        outcome = theirs.step(actions)
        assert_same(outcome, ours.step(actions))
        ended = outcome[2] | outcome[3]
        num_ends += int(ended.sum())
        if theirs.metadata["autoreset_mode"] is AutoresetMode.DISABLED and ended.any():
            seeds: Any = [None if t % 2 else 100 * t + row for row in range(theirs.num_envs)]
            assert_same(
                theirs.reset(seed=seeds, options={"reset_mask": ended.copy()}),
                ours.reset(seed=seeds, options={"reset_mask": ended.copy()}),
            )
    theirs.close()
    ours.close()
    return num_ends


@pytest.mark.parametrize("env_id", THREADED)
def test_states_rewards_and_ends_are_gymnasiums(env_id: str) -> None:
    """To the last bit, and past a time limit that two rows at least run into."""
    assert walk_together(*make_pair(env_id, max_episode_steps=60), num_steps=100) >= 2


@pytest.mark.parametrize("autoreset_mode", AutoresetMode)
@pytest.mark.parametrize("env_id", ["Walker2d-v4", "Hopper-v5", "Ant-v5"])
def test_rows_start_anew_as_gymnasiums_do(env_id: str, autoreset_mode: AutoresetMode) -> None:
    pair = make_pair(env_id, autoreset_mode=autoreset_mode, max_episode_steps=9)
    assert walk_together(*pair, num_steps=25) >= 6


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        ("Ant-v4", {"use_contact_forces": True}),
        ("Ant-v5", {"main_body": 3, "include_cfrc_ext_in_observation": False}),
        ("Ant-v5", {"contact_force_range": (-0.3, 0.3), "forward_reward_weight": 2.0}),
        ("Hopper-v4", {"terminate_when_unhealthy": False, "healthy_reward": 3.0}),
        ("Hopper-v5", {"healthy_state_range": (-3.0, 3.0), "reset_noise_scale": 0.1}),
        ("Walker2d-v5", {"healthy_z_range": (1.1, 2.0), "frame_skip": 2}),
        ("HalfCheetah-v5", {"ctrl_cost_weight": 2.0, "xml_file": "walker2d.xml"}),
        ("HalfCheetah-v4", {"exclude_current_positions_from_observation": False}),
    ],
)
def test_keywords_are_gymnasiums(env_id: str, kwargs: dict[str, Any]) -> None:
    walk_together(*make_pair(env_id, num_envs=2, **kwargs), num_steps=40)


def test_double_actions_and_a_single_row() -> None:
    """Gymnasium charges for actions in their own precision."""
    walk_together(*make_pair("Hopper-v4", num_envs=1), num_steps=30, dtype=np.float64)


def test_the_number_of_threads_does_not_matter() -> None:
    one, three = (make_threaded("HalfCheetah-v4", 5, num_threads=n) for n in (1, 3))
    walk_together(one, three, num_steps=60)


def test_rows_do_not_depend_on_each_other() -> None:
    """A row's episode is its seed's, whoever else is reset meanwhile."""
    alone, among = (
        make_threaded("Ant-v5", n, autoreset_mode=AutoresetMode.DISABLED) for n in (1, 4)
    )
    seeds: Any = [1, 2, 7, 3]
    first = alone.reset(seed=7)[0][0]
    np.testing.assert_array_equal(among.reset(seed=seeds)[0][2], first)
    rng = np.random.default_rng(0)
    for t in range(20):
        actions = rng.uniform(-1, 1, (4, 8)).astype(np.float32)
        ours = alone.step(actions[2:3])
        assert_same(tuple(x[0] for x in ours[:4]), tuple(x[2] for x in among.step(actions)[:4]))
        if t == 10:
            among.reset(seed=t, options={"reset_mask": np.array([True, False, False, True])})


def test_handed_out_arrays_do_not_change_later() -> None:
    envs = make_threaded("Hopper-v4")
    observations, _ = envs.reset(seed=0)
    kept = observations.copy()
    _, rewards, _, _, infos = envs.step(np.ones((3, 3), np.float32))
    kept_rewards, kept_x = rewards.copy(), infos["x_position"].copy()
    envs.step(np.zeros((3, 3), np.float32))
    np.testing.assert_array_equal(observations, kept)
    np.testing.assert_array_equal(rewards, kept_rewards)
    np.testing.assert_array_equal(infos["x_position"], kept_x)


def test_rollouts_take_threads_where_an_environment_has_them() -> None:
    """CartPole's own vector environment cannot be reset by hand, so it is not taken."""
    assert isinstance(make_envs("Walker2d-v5", 2, {"frame_skip": 2}), MujocoVectorEnv)
    assert isinstance(make_envs("CartPole-v1", 2), SyncVectorEnv)
    assert isinstance(make_envs("Swimmer-v5", 2), SyncVectorEnv)
    with pytest.raises(ValueError, match="cannot make environment 'Hopper-v4'.*wind"):
        make_envs("Hopper-v4", 2, {"wind": 3})


def test_misuse_is_named() -> None:
    envs = make_threaded("Hopper-v4", autoreset_mode=AutoresetMode.DISABLED, max_episode_steps=1)
    actions = np.zeros((3, 3), np.float32)
    with pytest.raises(ResetNeeded, match="before reset"):
        envs.step(actions)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape \(3, 2\).*\(3, 3\)"):
        envs.step(actions[:, :2])
    envs.step(actions)
    with pytest.raises(ResetNeeded, match=r"rows \[0, 1, 2\] have ended"):
        envs.step(actions)
    too_few: Any = [1, 2]
    with pytest.raises(ValueError, match="seed has 2 numbers"):
        envs.reset(seed=too_few)
    for mask in (np.zeros(3, bool), np.ones(2, bool), np.ones(3), [True] * 3):
        with pytest.raises(ValueError, match="reset_mask"):
            envs.reset(options={"reset_mask": mask})
    with pytest.raises(ValueError, match="vectorization_mode='sync'"):
        make_threaded("Hopper-v4", render_mode="rgb_array")


def test_mujoco_neither_prints_nor_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It has something to say about the cheetah's model, and would say it in MUJOCO_LOG.TXT."""
    monkeypatch.chdir(tmp_path)
    make_threaded("HalfCheetah-v4").close()
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_importing_envs_loads_no_mujoco() -> None:
    code = "import sys, envs; print('mujoco' in sys.modules, len(envs.THREADED))"
    words = [sys.executable, "-c", code]
    root = Path(__file__).parents[2]
    ended = subprocess.run(words, cwd=root, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "8"]
