"""The pure program of a lane: rows that a policy and an environment step together, on one device.

The contract of an environment is Gymnasium's `FuncEnv`: pure functions of a state and a key.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.experimental.functional import FuncEnv
from jaxtyping import Array, Bool, Float, Int, UInt32

from dt.acting.program import PolicyProgram, PolicyState, Start
from dt.model.heads.action import could_be_computed
from dt.model.params import Params
from dt.parallel.rows import WHOLE, device_index
from dt.spaces.arrays import Tree

# Rows of a lane on a CPU (2 cores, the default preset: 512 rows as one lane 118,000 steps a second,
# as two at once 215,000, as pairs of 64 rows 255,000, of 32 215,000).
CPU_ROWS = 64


@dataclass(frozen=True)
class Lanes:
    """How rows are divided: groups play a chunk one after the other, on all devices at once."""

    num_groups: int
    num_devices: int
    num_rows: int  # of a lane, which is what one device plays of one group

    @classmethod
    def of(cls, num_envs: int, devices: list[jax.Device]) -> Lanes:
        """Divide at least as many rows, on as many of the devices as there are rows for."""
        num_devices = min(len(devices), num_envs)
        most = CPU_ROWS if devices[0].platform == "cpu" else num_envs
        num_groups = math.ceil(num_envs / (num_devices * most))
        return cls(num_groups, num_devices, math.ceil(num_envs / (num_groups * num_devices)))

    @property
    def count(self) -> int:
        return self.num_groups * self.num_devices

    def group_of(self, episodes: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Tell each episode's group: episode i is played in lane i modulo their count."""
        return episodes % self.count // self.num_devices


class Queue(NamedTuple):
    """The episodes asked for; lane i of n plays those at i, i + n, i + 2 n, ... in this order."""

    seeds: UInt32[Array, " n"]  # of the environment
    requests: Float[Array, " n"]
    action_seeds: UInt32[Array, " n"]
    guidance: Float[Array, "n 3"] | None = None  # each episode's own weights, where it has any


class LaneState(NamedTuple):
    """All of a lane that goes on from step to step."""

    agent: PolicyState
    world: Tree  # the environment's states, B of each array
    keys: UInt32[Array, "B 2"]
    observations: Tree  # B of the environment's, an array or a tree of them
    rewards: Float[Array, " B"]  # of the last actions, in the units of targets
    starting: Bool[Array, " B"]
    episodes: Int[Array, " B"]  # -1 has no episode left and idles along
    upcoming: Int[Array, " 1"]  # the next episode that a row of the lane takes


class StepCounts(NamedTuple):
    """What the host counts by, (B,) of one step of all rows, or (steps, B) of a chunk of them."""

    episodes: Array  # int32
    timesteps: Array  # int32
    rewards: Array  # float32, the environment's
    ended: Array  # bool
    finite: Array  # bool: what the environment gave
    computed: Array  # bool: the action


@dataclass(frozen=True, eq=False)
class LaneProgram:
    """Functions of a lane's state alone, for `dt.parallel.rows.on_each` to run on every device."""

    policy: PolicyProgram
    env: FuncEnv
    max_episode_steps: int | None
    lanes: Lanes

    def begin(self, queue: Queue, group: Int[Array, ""]) -> LaneState:
        """Make the state of this device's lane of a group, before its first episodes."""
        num_rows, num_lanes = self.lanes.num_rows, self.lanes.count
        lane = group * self.lanes.num_devices + device_index()
        episodes = lane + num_lanes * jnp.arange(num_rows, dtype=jnp.int32)
        count = len(queue.seeds)
        first = queue.seeds[jnp.minimum(episodes, count - 1)]
        world, observations, keys = _first(self.env, first)
        return LaneState(
            agent=self.policy.initial_state(num_rows),
            world=world,
            keys=keys,
            observations=observations,
            rewards=jnp.zeros(num_rows, jnp.float32),
            starting=jnp.ones(num_rows, bool),
            episodes=jnp.where(episodes < count, episodes, -1),
            upcoming=lane[None] + num_lanes * num_rows,
        )

    def state_axes(self) -> LaneState:
        """Say which axis of each array of a state is divided over devices, as `on_each` takes it.

        Numbers of which there is one are those that count steps, alike on all devices.
        """
        agent = jax.eval_shape(lambda: self.policy.initial_state(self.lanes.num_rows))
        rows: LaneState = LaneState(*[0] * len(LaneState._fields))  # type: ignore[arg-type]
        return rows._replace(agent=jax.tree.map(lambda leaf: 0 if leaf.ndim else WHOLE, agent))

    def play(
        self, num_steps: int, state: LaneState, params: Params, queue: Queue
    ) -> tuple[LaneState, StepCounts]:
        """Take so many steps of all rows."""

        def step(state: LaneState, _: None) -> tuple[LaneState, StepCounts]:
            return self.step(params, queue, state)

        return jax.lax.scan(step, state, length=num_steps)

    def step(self, params: Params, queue: Queue, state: LaneState) -> tuple[LaneState, StepCounts]:
        """Take one step; rows whose episode ended take the next of the lane's episodes."""
        env, spec = self.env, self.policy.spec
        live = state.episodes >= 0
        playing = jnp.maximum(state.episodes, 0)
        starting = live & state.starting
        world, observations, keys = _restart(env, queue.seeds[playing], starting, state)

        guidance = None if queue.guidance is None else queue.guidance[playing]
        start = Start(
            state.starting, queue.requests[playing], queue.action_seeds[playing], guidance
        )
        chosen, agent = self.policy.step(
            params, state.agent, spec.codec.encode_observation(observations), state.rewards, start
        )
        actions = spec.codec.decode_action(chosen)
        rngs, keys = _split(keys)
        after = _like(world, jax.vmap(env.transition)(world, actions, rngs))
        seen_next = _like(observations, jax.vmap(env.observation)(after, rngs))
        rewards = jax.vmap(lambda *args: jnp.asarray(env.reward(*args), jnp.float32).reshape(()))(
            world, actions, after, rngs
        )
        ended = jax.vmap(lambda *args: jnp.asarray(env.terminal(*args), bool).reshape(()))(
            after, rngs
        )
        if self.max_episode_steps is not None:
            ended = ended | (agent.timestep >= self.max_episode_steps)
        ended = ended & live
        finite = _finite(observations) & _finite(seen_next) & jnp.isfinite(rewards)

        num_lanes = self.lanes.count
        following = state.upcoming + num_lanes * (jnp.cumsum(ended, dtype=jnp.int32) - 1)
        following = jnp.where(following < len(queue.seeds), following, -1)
        episodes = jnp.where(ended, following, state.episodes)
        going_on = LaneState(
            agent=agent,
            world=after,
            keys=keys,
            observations=seen_next,
            rewards=spec.transforms.rewards_while_playing(rewards),
            starting=ended | (episodes < 0),  # an idle row stays at timestep 0, which always exists
            episodes=episodes,
            upcoming=state.upcoming + num_lanes * ended.sum(dtype=jnp.int32),
        )
        return going_on, StepCounts(
            episodes=state.episodes,
            timesteps=agent.timestep - 1,
            rewards=rewards,
            ended=ended,
            finite=finite,
            computed=could_be_computed(chosen),
        )


def _restart(
    env: FuncEnv, seeds: Array, where: Bool[Array, " B"], state: LaneState
) -> tuple[Tree, Tree, Array]:
    """States, observations and keys, new ones in these rows; in most steps there are none."""
    before = state.world, state.observations, state.keys

    def renew() -> tuple[Tree, Tree, Array]:
        def pick(new: Array, old: Array) -> Array:
            return jnp.where(where.reshape(-1, *[1] * (old.ndim - 1)), new, old)

        return jax.tree.map(pick, _like(before, _first(env, seeds)), before)

    return jax.lax.cond(where.any(), renew, lambda: before)


def _first(env: FuncEnv, seeds: Array) -> tuple[Tree, Tree, Array]:
    """States, first observations and keys of the episodes with these seeds."""
    rngs, keys = _split(jax.vmap(jax.random.PRNGKey)(seeds))
    world = jax.vmap(env.initial)(rngs)
    observations = jax.vmap(env.observation)(world, rngs)
    return _like(world, world), _like(observations, observations), keys


def _split(keys: Array) -> tuple[Array, Array]:
    """A key to use now and one to keep, for each row."""
    both = jax.vmap(jax.random.split)(keys)
    return both[:, 0], both[:, 1]


def _like(before: Tree, after: Tree) -> Tree:
    """`after` in the types of `before`, as a scan must have it and environments do not mind.

    What began as a Python number is no exception: its type is then said, not left open.
    """

    def match(old: Array | float, new: Array | float) -> Array:
        old, new = jnp.asarray(old), jnp.asarray(new)
        return new if jnp.issubdtype(old.dtype, jax.dtypes.prng_key) else new.astype(old.dtype)

    return jax.tree.map(match, before, after)


def _finite(observations: Tree) -> Bool[Array, " B"]:
    """Of each row, all that it observes."""
    parts = [
        jnp.isfinite(part).reshape(len(part), -1).all(axis=1)
        for part in jax.tree.leaves(observations)
    ]
    return jnp.stack(parts).all(axis=0)
