"""Does a program of policy and environment play exactly the episodes that the host path plays?"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces
from gymnasium.envs.functional_jax_env import FunctionalJaxEnv
from gymnasium.experimental.functional import FuncEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from walk import assert_equal, make_policy_for

from dt.acting.lanes import Lanes
from dt.acting.on_device import FunctionalTask, device_player, run_on_device
from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.rollout import RolloutFault, Rollouts, run_episodes
from dt.model.decision_transformer import DecisionTransformer

TARGETS, SEEDS = np.linspace(1.0, 9.0, 7), np.arange(7) * 11


class WalkState(NamedTuple):
    position: Any
    left: Any
    past: Any  # the actions so far as digits of one number


class Walk(FuncEnv):
    """Ends after 3 to 12 steps, as its key decides, and pushes at random.

    Rewards add up to a number whose base-3 digits are all actions of the episode.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = spaces.Discrete(3, start=1)

    def initial(self, rng: Any, params: Any = None) -> WalkState:
        length = jax.random.randint(rng, (), 3, 13)
        return WalkState(jax.random.normal(rng, (3,)), length, 1)

    def transition(self, state: WalkState, action: Any, rng: Any, params: Any = None) -> WalkState:
        wind = jax.random.normal(rng, (3,))
        past = 3 * state.past + action - 1
        return WalkState(state.position + 0.3 * wind + 0.1 * action, state.left - 1, past)

    def observation(self, state: WalkState, rng: Any, params: Any = None) -> Any:
        return state.position + 0.01 * jax.random.uniform(rng, (3,))

    def reward(
        self, state: WalkState, action: Any, next_state: WalkState, rng: Any, params: Any = None
    ) -> Any:
        return next_state.past - state.past

    def terminal(self, state: WalkState, rng: Any, params: Any = None) -> Any:
        return state.left <= 0


class Push(Walk):
    """The same with continuous actions, which are all of the reward."""

    action_space = spaces.Box(-2.0, 2.0, (2,), np.float32)  # type: ignore[assignment]

    def transition(self, state: WalkState, action: Any, rng: Any, params: Any = None) -> WalkState:
        moved = state.position + 0.3 * jax.random.normal(rng, (3,)) + action.sum() / 10
        return WalkState(moved, state.left - 1, state.past)

    def reward(
        self, state: WalkState, action: Any, next_state: WalkState, rng: Any, params: Any = None
    ) -> Any:
        return action @ jnp.array([1.0, 0.1])


def on_host(policy: ReturnConditionedPolicy, env: type[FuncEnv], limit: int = 99) -> Rollouts:
    """Through Gymnasium's own wrapper of functional environments."""

    def make() -> gymnasium.Env:
        wrapped: gymnasium.Env = FunctionalJaxEnv(env(), metadata={"render_modes": []})
        return gymnasium.wrappers.TimeLimit(wrapped, limit)

    envs = SyncVectorEnv([make] * 3, autoreset_mode=AutoresetMode.DISABLED)
    return run_episodes(policy, envs, TARGETS, SEEDS)


@pytest.mark.slow
@pytest.mark.parametrize("num_envs", [3, pytest.param(7, marks=pytest.mark.thorough)])
def test_the_device_takes_the_actions_that_the_host_takes(num_envs: int) -> None:
    """Sampled ones, all of them, with rows that end and start again at different times."""
    policy = make_policy_for(Walk())
    host = on_host(policy, Walk)
    device = run_on_device(policy, FunctionalTask("Walk", Walk()), TARGETS, SEEDS, num_envs)
    assert len(set(host.lengths)) > 3 and len(set(host.returns)) == 7
    assert_equal(device, host)


@pytest.mark.slow
def test_guided_actions_are_the_host_s_too() -> None:
    """Rows of both passes are divided over devices and lanes together."""
    plain = make_policy_for(Walk())
    guided = ReturnConditionedPolicy(
        plain.params, plain.spec, ActingOptions(guidance=2.0, guidance_enough=5.0)
    )
    host = on_host(guided, Walk)
    assert_equal(run_on_device(guided, FunctionalTask("Walk", Walk()), TARGETS, SEEDS, 7), host)
    assert set(host.returns) != set(on_host(plain, Walk).returns)


@pytest.mark.slow
def test_continuous_actions_are_the_host_s_too() -> None:
    policy = make_policy_for(Push())
    assert_equal(played_plainly(), on_host(policy, Push), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"reward_scale": 0.1, "reward_shift": 0.5, "discount": 0.9},
        pytest.param({"reward_scale": 0.1, "reward_shift": 0.5}, marks=pytest.mark.thorough),
        pytest.param({"discount": 0.9}, marks=pytest.mark.thorough),
        {"delay_reward": True},
    ],
)
def test_rewards_are_transformed_as_on_the_host(changes: dict[str, Any]) -> None:
    policy = make_policy_for(Push(), **changes)
    device = run_on_device(policy, FunctionalTask("Push", Push()), TARGETS, SEEDS, 3)
    assert_equal(device, on_host(policy, Push), rtol=1e-4)
    assert not np.allclose(device.returns, played_plainly().returns, rtol=1e-3)


@functools.cache
def played_plainly() -> Rollouts:
    """What the device plays where rewards are as they are."""
    policy = make_policy_for(Push())
    return run_on_device(policy, FunctionalTask("Push", Push()), TARGETS, SEEDS, 3)


@pytest.mark.slow
def test_a_time_limit_ends_episodes_where_the_host_ends_them() -> None:
    policy = make_policy_for(Walk())
    device = run_on_device(policy, FunctionalTask("Walk", Walk(), 5), TARGETS, SEEDS, 3)
    assert device.lengths.max() == 5
    assert_equal(device, on_host(policy, Walk, limit=5))


@functools.cache
def two_rows_alone() -> Rollouts:
    policy = make_policy_for(Walk())
    return run_on_device(policy, FunctionalTask("Walk", Walk()), TARGETS, SEEDS, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_envs", "chunk", "num_devices", "lane"),
    [
        (1, 5, 1, 64),
        (4, 1, 4, 64),
        pytest.param(7, 64, 2, 64, marks=pytest.mark.thorough),
        (7, 3, 2, 1),
        pytest.param(6, 4, 1, 2, marks=pytest.mark.thorough),
    ],
)
def test_neither_rows_nor_chunks_nor_lanes_change_an_episode(
    num_envs: int, chunk: int, num_devices: int, lane: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, task = make_policy_for(Walk()), FunctionalTask("Walk", Walk())
    expected = two_rows_alone()
    monkeypatch.setattr("dt.acting.lanes.CPU_ROWS", lane)
    devices = jax.devices()[:num_devices]
    lanes = Lanes.of(num_envs, devices)
    assert lanes.num_rows <= lane and lanes.count * lanes.num_rows >= num_envs
    play = device_player(policy, task, num_envs, chunk, devices)
    assert_equal(play(TARGETS, SEEDS), expected)


def test_lanes_share_rows_evenly_and_leave_none_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dt.acting.lanes.CPU_ROWS", 64)
    two = jax.devices()[:2]
    found = [Lanes.of(num_envs, two) for num_envs in (1, 2, 128, 129, 700)]
    assert found == [
        Lanes(1, 1, 1),
        Lanes(1, 2, 1),
        Lanes(1, 2, 64),
        Lanes(2, 2, 33),
        Lanes(6, 2, 59),
    ]
    assert Lanes(2, 2, 33).group_of(np.arange(6)).tolist() == [0, 0, 1, 1, 0, 0]


@pytest.mark.slow
def test_one_program_plays_every_chunk_and_reports_its_progress() -> None:
    traced, seen = [], []

    class Counted(Walk):
        def transition(self, *args: Any) -> WalkState:
            traced.append(1)
            return super().transition(*args)

    play = device_player(make_policy_for(Walk()), FunctionalTask("Walk", Counted()), 2, chunk=4)
    first = play(TARGETS, SEEDS, lambda done, steps: seen.append((done, steps)))
    count = len(traced)
    assert len(seen) > 3 and seen == sorted(seen) and seen[-1] == (7, first.lengths.sum())
    assert_equal(play(TARGETS, SEEDS), first)
    assert len(traced) == count == 1


class Breaks(Walk):
    """Gives NaN once an episode that is made for more than 8 steps has 2 left."""

    def initial(self, rng: Any, params: Any = None) -> WalkState:
        state = super().initial(rng)
        return state._replace(past=jnp.where(state.left > 8, 1, 0))

    def transition(self, state: WalkState, action: Any, rng: Any, params: Any = None) -> WalkState:
        return super().transition(state, action, rng)._replace(past=state.past)

    def reward(
        self, state: WalkState, action: Any, next_state: WalkState, rng: Any, params: Any = None
    ) -> Any:
        return jnp.where((state.past == 1) & (state.left == 2), jnp.nan, 1.0)


@pytest.mark.slow
def test_a_number_that_is_none_ends_with_its_place_and_keeps_what_had_ended() -> None:
    policy, whole = make_policy_for(Walk()), two_rows_alone()
    broken = int(np.argmax(whole.lengths > 8))  # rows take episodes in order: the first to break
    with pytest.raises(RolloutFault) as caught:
        run_on_device(policy, FunctionalTask("Breaks-v0", Breaks()), TARGETS, SEEDS, 1)
    step = whole.lengths[broken] - 2
    assert f"Breaks-v0 on the device, row 0, episode {broken}, step {step}: " in str(caught.value)
    assert "reward nan" in str(caught.value)
    kept = caught.value.finished
    np.testing.assert_array_equal(kept.lengths, whole.lengths[:broken])
    np.testing.assert_array_equal(kept.returns, whole.lengths[:broken])


@pytest.mark.slow
def test_an_episode_longer_than_the_model_knows_is_an_error() -> None:
    policy = make_policy_for(Walk())
    short = dataclasses.replace(policy.spec, max_timesteps=6)
    model = DecisionTransformer(short, rngs=nnx.Rngs(0))
    task = FunctionalTask("Walk", Walk())
    params = nnx.state(model)
    with pytest.raises(ValueError, match="timestep 6 is past the longest this model knows, 6"):
        run_on_device(ReturnConditionedPolicy(params, short), task, TARGETS, SEEDS, 3)
    clamped = ReturnConditionedPolicy(params, short, ActingOptions(past_end="clamp"))
    played = run_on_device(clamped, task, TARGETS, SEEDS, 3)
    np.testing.assert_array_equal(played.lengths, two_rows_alone().lengths)
    assert played.lengths.max() > 6


def test_other_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match="action space.*trained on"):
        run_on_device(make_policy_for(Walk()), FunctionalTask("Push", Push()), TARGETS, SEEDS, 3)


class Far(Walk):
    """Shows a number that no layer can multiply, where 2 are left of more than 8 steps."""

    def initial(self, rng: Any, params: Any = None) -> WalkState:
        state = super().initial(rng)
        return state._replace(past=jnp.where(state.left > 8, 1, 0))

    def transition(self, state: WalkState, action: Any, rng: Any, params: Any = None) -> WalkState:
        return super().transition(state, action, rng)._replace(past=state.past)

    def observation(self, state: WalkState, rng: Any, params: Any = None) -> Any:
        far = (state.past == 1) & (state.left == 2)
        return jnp.where(far, 3e38, super().observation(state, rng))

    def reward(self, *args: Any, **kwargs: Any) -> Any:
        return 1.0


@pytest.mark.slow
def test_a_choice_that_cannot_be_computed_is_refused_on_host_and_device() -> None:
    """An argmax of NaN is category 0, and a draw from it is some category: neither was chosen."""
    policy, whole = make_policy_for(Far()), two_rows_alone()
    broken = int(np.argmax(whole.lengths > 8))
    place = f"episode {broken}, step {whole.lengths[broken] - 2}: the policy's action is"
    with pytest.raises(RolloutFault, match=f"Far-v0 on the device, row 0, {place} no number or"):
        run_on_device(policy, FunctionalTask("Far-v0", Far()), TARGETS, SEEDS, 1)
    with pytest.raises(RolloutFault, match=f"{place} 0; its weights, or what it was") as caught:
        on_host(policy, Far)
    assert set(caught.value.finished.lengths) <= set(whole.lengths)


@pytest.mark.parametrize("method", ["initial", "transition", "reward"])
def test_an_environment_that_exits_is_one_line(method: str) -> None:
    """While its functions are made a program: they are Python then, and never again."""

    class Exits(Walk):
        pass

    def leave(*args: Any, **kwargs: Any) -> Any:
        raise SystemExit(0)

    setattr(Exits, method, leave)
    with pytest.raises(RolloutFault) as caught:
        run_on_device(make_policy_for(Walk()), FunctionalTask("X-v0", Exits()), TARGETS, SEEDS, 3)
    said = f"X-v0 on the device: {method} raised SystemExit: 0 (0 of 7 episodes had ended)"
    assert str(caught.value) == said
