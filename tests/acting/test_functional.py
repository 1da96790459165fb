"""Are functional forms the environments they stand for, and do adapters show what is in them?"""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from walk import assert_equal, make_policy_for

from dt.acting.on_device import run_on_device
from dt.acting.rollout import run_episodes
from envs.functional import FORMS, functional_task


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_a_functional_form_moves_as_gymnasium_s_environment(env_id: str) -> None:
    env, task = gymnasium.make(env_id).unwrapped, functional_task(env_id)
    rng, key = np.random.default_rng(0), jax.random.key(0)

    @jax.jit
    def step(state: Any, action: Any) -> tuple[Any, Any, Any, Any]:
        after = task.env.transition(state, action, key)
        reward = task.env.reward(state, action, after, key)
        return after, task.env.observation(after, key), reward, task.env.terminal(after, key)

    ends = 0
    for episode in range(6):
        observation, _ = env.reset(seed=episode)
        state: Any = jnp.asarray(env.state, jnp.float32)  # type: ignore[attr-defined]
        np.testing.assert_allclose(task.env.observation(state, key), observation, atol=1e-6)
        for _ in range(60):
            if task.env.action_space == spaces.Discrete(2):
                action: Any = int(rng.integers(2))
            else:
                action = rng.uniform(-2.0, 2.0, 1).astype(np.float32)
            observation, reward, terminated, _, _ = env.step(action)
            state, observed, rewarded, ended = step(state, action)
            assert float(rewarded) == pytest.approx(reward, abs=1e-3)
            assert bool(ended) == terminated
            np.testing.assert_allclose(observed, observation, atol=2e-3)
            if terminated:
                ends += 1
                break
    assert ends == (6 if env_id == "CartPole-v1" else 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "env_id",
    [
        "phys2d/CartPole-v1",
        pytest.param("phys2d/Pendulum-v0", marks=pytest.mark.thorough),
        pytest.param("tabular/Blackjack-v0", marks=pytest.mark.thorough),
    ],
)
def test_the_device_plays_gymnasium_s_own_functional_environments(env_id: str) -> None:
    """Episode for episode what `gymnasium.make` of the id plays with the same seeds."""

    def make() -> gymnasium.Env:
        return gymnasium.make(env_id, max_episode_steps=12)

    task = functional_task(env_id, {"max_episode_steps": 12})
    policy = make_policy_for(task.env)
    targets, seeds = np.linspace(1.0, 9.0, 5), np.arange(5) * 7
    envs = SyncVectorEnv([make], autoreset_mode=AutoresetMode.DISABLED)
    host = run_episodes(policy, envs, targets, seeds)
    envs.close()
    assert_equal(run_on_device(policy, task, targets, seeds, 2), host, rtol=1e-4)


def test_time_limits_are_the_registered_ones_unless_given() -> None:
    assert functional_task("CartPole-v0").max_episode_steps == 200
    assert functional_task("CartPole-v1").max_episode_steps == 500
    assert functional_task("CartPole-v1", {"max_episode_steps": 7}).max_episode_steps == 7
    assert functional_task("CartPole-v1", {"max_episode_steps": -1}).max_episode_steps is None
    assert all(gymnasium.spec(env_id) for env_id in FORMS)


def test_what_has_no_functional_form_is_named() -> None:
    with pytest.raises(ValueError, match="Hopper-v4 has no functional form; there are CartPole-v0"):
        functional_task("Hopper-v4")
    with pytest.raises(ValueError, match="max_episode_steps alone, not sutton_barto_reward"):
        functional_task("CartPole-v1", {"sutton_barto_reward": True})


@pytest.mark.parametrize("library", ["gymnax", "brax"])
def test_a_library_that_is_not_installed_is_named_with_its_extra(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)  # as Python marks what cannot be imported
    with pytest.raises(ValueError, match=rf"needs the package {library}.*\[{library}\]") as caught:
        functional_task(f"{library}/Count")
    assert "\n" not in str(caught.value)


class CountState(NamedTuple):
    count: Any
    drift: Any


@dataclass(frozen=True)
class CountParams:
    max_steps_in_episode: int = 30
    step: float = 1.0

    def replace(self, **changes: Any) -> CountParams:
        return replace(self, **changes)


class GymnaxCount:
    """gymnax's interface: counts, and terminates at 5 plus what the key drew."""

    def observation_space(self, params: CountParams) -> Any:
        return types.SimpleNamespace(low=-9.0, high=9.0, shape=(3,), dtype=jnp.float32)

    def action_space(self, params: CountParams) -> Any:
        return types.SimpleNamespace(n=3, shape=(), dtype=jnp.int_)

    def reset_env(self, key: Any, params: CountParams) -> tuple[Any, CountState]:
        state = CountState(0, jax.random.randint(key, (), 0, 4))
        return jnp.zeros(3), state

    def step_env(
        self, key: Any, state: CountState, action: Any, params: CountParams
    ) -> tuple[Any, CountState, Any, Any, dict[str, Any]]:
        count = state.count + 1
        observation = jnp.stack([count, action, jax.random.uniform(key)])
        done = (count >= 5 + state.drift) | (count >= params.max_steps_in_episode)
        return observation, CountState(count, state.drift), params.step * count, done, {}


def make_gymnax(name: str) -> tuple[GymnaxCount, CountParams]:
    if name != "Count":
        raise ValueError(f"{name} is not in registered gymnax environments.")
    return GymnaxCount(), CountParams()


@pytest.fixture
def _gymnax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnax", types.SimpleNamespace(make=make_gymnax))


@pytest.mark.slow
@pytest.mark.usefixtures("_gymnax")
def test_gymnax_looks_like_a_functional_environment() -> None:
    task = functional_task("gymnax/Count", {"step": 2.0})
    assert task.env.observation_space == spaces.Box(-9.0, 9.0, (3,), np.float32)
    assert task.env.action_space == spaces.Discrete(3) and task.max_episode_steps == 30
    rollouts = run_on_device(make_policy_for(task.env), task, np.ones(9), np.arange(9), 2)
    assert len(set(rollouts.lengths)) > 2 and set(rollouts.lengths) <= {5, 6, 7, 8}
    lengths = rollouts.lengths
    np.testing.assert_array_equal(rollouts.returns, lengths * (lengths + 1))  # 2 (1 + 2 + ...)
    short = functional_task("gymnax/Count", {"max_episode_steps": 6})
    rollouts = run_on_device(make_policy_for(short.env), short, np.ones(9), np.arange(9), 2)
    np.testing.assert_array_equal(rollouts.lengths, np.minimum(lengths, 6))
    endless = functional_task("gymnax/Count", {"max_episode_steps": -1})
    assert endless.max_episode_steps is None
    rollouts = run_on_device(make_policy_for(endless.env), endless, np.ones(9), np.arange(9), 2)
    np.testing.assert_array_equal(rollouts.lengths, lengths)


@pytest.mark.usefixtures("_gymnax")
def test_what_gymnax_does_not_know_is_one_line() -> None:
    with pytest.raises(ValueError, match="cannot make environment 'gymnax/Nope': Nope is not"):
        functional_task("gymnax/Nope")
    with pytest.raises(ValueError, match="'gymnax/Count': .*unexpected keyword argument 'bogus'"):
        functional_task("gymnax/Count", {"bogus": 1})


class BraxState(NamedTuple):
    pipeline_state: Any
    obs: Any
    reward: Any
    done: Any


class BraxPush:
    """brax's interface: ends when pushed past 2, or never."""

    observation_size: Any = 3
    action_size = 2

    def __init__(self, backend: str = "mjx"):
        self.gain = {"mjx": 1.0, "spring": 0.0}[backend]

    def reset(self, rng: Any) -> BraxState:
        place = jax.random.uniform(rng, (3,))
        return BraxState(place, place, jnp.zeros(()), jnp.zeros(()))

    def step(self, state: BraxState, action: Any) -> BraxState:
        place = state.pipeline_state + self.gain * (1.0 + 0.5 * action.mean())
        return BraxState(place, place, place[0], (place[0] > 3.0).astype(jnp.float32))


@pytest.fixture
def _brax(monkeypatch: pytest.MonkeyPatch) -> None:
    environments = types.SimpleNamespace(
        get_environment=lambda name, **kwargs: {"push": BraxPush}[name](**kwargs)
    )
    monkeypatch.setitem(sys.modules, "brax", types.SimpleNamespace(envs=environments))


@pytest.mark.slow
@pytest.mark.usefixtures("_brax")
def test_brax_looks_like_a_functional_environment() -> None:
    task = functional_task("brax/push")
    assert task.env.action_space == spaces.Box(-1.0, 1.0, (2,), np.float32)
    assert task.max_episode_steps == 1000
    rollouts = run_on_device(make_policy_for(task.env), task, np.ones(5), np.arange(5), 2)
    assert set(rollouts.lengths) <= {2, 3, 4, 5, 6} and (rollouts.returns > 3.0).all()
    still = functional_task("brax/push", {"backend": "spring", "max_episode_steps": 9})
    rollouts = run_on_device(make_policy_for(still.env), still, np.ones(5), np.arange(5), 2)
    assert (rollouts.lengths == 9).all()


@pytest.mark.usefixtures("_brax")
def test_what_brax_does_not_know_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="cannot make environment 'brax/nope': 'nope'"):
        functional_task("brax/nope")
    monkeypatch.setattr(BraxPush, "observation_size", {"state": (3,), "pixels": (8, 8)})
    with pytest.raises(ValueError, match="'brax/push': its observations are .*not one vector"):
        functional_task("brax/push")
