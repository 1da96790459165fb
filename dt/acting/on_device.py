"""How do policy and environment run as one program, on the device? In chunks of a scan.

A step of all rows is the policy's own step and the environment's, with nothing between them. What
the host does between chunks is count. The contract of an environment is Gymnasium's `FuncEnv`:
pure functions of a state and a key.

Rows are divided over the devices there are, and on a CPU into lanes of few: within a scan XLA gives
a CPU's device one thread, and that goes fastest where the lane's keys and values stay in its cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.experimental.functional import FuncEnv
from jaxtyping import Array, Bool, Float, Int

from dt.acting.policy import PolicyState, ReturnConditionedPolicy
from dt.acting.rollout import RolloutFault, Rollouts, Tally, action_seeds, check_spaces
from dt.parallel.rows import WHOLE, device_index, on_all, on_each, row_mesh
from dt.play.faults import EnvironmentFault

CHUNK = 64  # steps of all rows in one call: a few milliseconds that no host waits for
# Rows of a lane on a CPU (2 cores, the default preset: 512 rows as one lane 118,000 steps a second,
# as two at once 215,000, as pairs of 64 rows 255,000, of 32 215,000).
CPU_ROWS = 64


@dataclass(frozen=True)
class FunctionalTask:
    """An environment that runs on the device, and the time limit that its episodes end at."""

    name: str
    env: FuncEnv
    max_episode_steps: int | None = None


@dataclass(frozen=True)
class Lanes:
    """How rows are divided: groups play a chunk one after the other, on all devices at once."""

    num_groups: int
    num_devices: int
    num_rows: int  # of a lane, which is what one device plays of one group

    @classmethod
    def of(cls, num_envs: int, devices: list[jax.Device]) -> Lanes:
        """At least as many rows, on as many of the devices as there are rows for."""
        num_devices = min(len(devices), num_envs)
        most = CPU_ROWS if devices[0].platform == "cpu" else num_envs
        num_groups = math.ceil(num_envs / (num_devices * most))
        return cls(num_groups, num_devices, math.ceil(num_envs / (num_groups * num_devices)))

    @property
    def count(self) -> int:
        return self.num_groups * self.num_devices

    def group_of(self, episodes: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Episode i is the lane's that is number i modulo their count."""
        return episodes % self.count // self.num_devices


class Queue(NamedTuple):
    """The episodes asked for; lane i of n plays those at i, i + n, i + 2 n, ... in this order."""

    seeds: Array  # (n,) uint32, of the environment
    requests: Float[Array, " n"]
    action_seeds: Array  # (n,) uint32


class Stage(NamedTuple):
    """All that goes on from step to step."""

    agent: PolicyState
    world: Any  # the environment's states, B of each array
    keys: Array  # (B, 2) uint32
    observations: Any  # B of the environment's, an array or a tree of them
    rewards: Float[Array, " B"]  # of the last actions, in the units of targets
    starting: Bool[Array, " B"]
    episodes: Int[Array, " B"]  # -1 has no episode left and idles along
    upcoming: Int[Array, " 1"]  # the next episode that a row of the lane takes


class Seen(NamedTuple):
    """What the host counts by; one step of all rows, or a chunk of them."""

    episodes: Any  # (B,) int32
    timesteps: Any  # (B,) int32
    rewards: Any  # (B,) float32, the environment's
    ended: Any  # (B,) bool
    finite: Any  # (B,) bool


Player = Callable[..., Rollouts]


def device_player(
    policy: ReturnConditionedPolicy,
    task: FunctionalTask,
    num_envs: int,
    chunk: int = CHUNK,
    devices: list[jax.Device] | None = None,
) -> Player:
    """Compile policy and environment into one program; `run_on_device` is the short way.

    Args:
        devices: by default all of this process.

    Returns:
        (targets, seeds, on_step) -> Rollouts, like `run_episodes`; called again with as many
        episodes it runs the same program.
    """
    env = task.env
    check_spaces(policy, env.observation_space, env.action_space)
    devices = jax.local_devices() if devices is None else devices
    lanes = Lanes.of(num_envs, devices)
    num_rows = lanes.num_rows
    mesh = row_mesh(devices[: lanes.num_devices])
    params = on_all(policy.params, mesh)

    def begin(queue: Queue, group: Array) -> Stage:
        lane = group * lanes.num_devices + device_index()
        episodes = lane + lanes.count * jnp.arange(num_rows, dtype=jnp.int32)
        count = len(queue.seeds)
        world, observations, keys = _first(env, queue.seeds[jnp.minimum(episodes, count - 1)])
        return Stage(
            agent=policy.initial_state(num_rows),
            world=world,
            keys=keys,
            observations=observations,
            rewards=jnp.zeros(num_rows, jnp.float32),
            starting=jnp.ones(num_rows, bool),
            episodes=jnp.where(episodes < count, episodes, -1),
            upcoming=lane[None] + lanes.count * num_rows,
        )

    def play(stage: Stage, params: Any, queue: Queue) -> tuple[Stage, Seen]:
        def step(stage: Stage, _: None) -> tuple[Stage, Seen]:
            return _step(policy, task, params, queue, lanes.count, stage)

        return jax.lax.scan(step, stage, length=chunk)

    # Numbers of which there is one are those that count steps, alike on all devices.
    agent = jax.eval_shape(lambda: policy.initial_state(num_rows))
    axes: Any = Stage(*[0] * len(Stage._fields))  # type: ignore[arg-type]
    axes = axes._replace(agent=jax.tree.map(lambda leaf: 0 if leaf.ndim else WHOLE, agent))
    begin_group = jax.jit(on_each(begin, mesh, WHOLE, axes))
    play_chunk = jax.jit(on_each(play, mesh, (axes, WHOLE, WHOLE), (axes, 1)), donate_argnums=0)

    def player(
        targets: Float[np.ndarray, " n"],
        seeds: Int[np.ndarray, " n"],
        on_step: Callable[[int, int], None] = lambda done, steps: None,
    ) -> Rollouts:
        asked = Queue(
            jnp.asarray(seeds, jnp.uint32),
            jnp.asarray(policy.requests(targets)),
            jnp.asarray(action_seeds(seeds), jnp.uint32),
        )
        queue = on_all(asked, mesh)
        tally = Tally(targets, seeds, policy.spec.transforms)
        group_of = lanes.group_of(np.arange(len(seeds)))

        def begun(group: int) -> tuple[Stage, Seen]:
            return play_chunk(begin_group(queue, jnp.int32(group)), params, queue)

        playing = {group: begun(group) for group in range(lanes.num_groups)}
        while not tally.ended.all():
            for group, (stage, seen) in list(playing.items()):  # the others go on meanwhile
                _count(Seen(*map(np.asarray, seen)), tally, policy, task)
                on_step(tally.num_done, tally.num_steps)
                if tally.ended[group_of == group].all():
                    del playing[group]
                else:
                    playing[group] = play_chunk(stage, params, queue)
        return tally.rollouts()

    return player


def run_on_device(
    policy: ReturnConditionedPolicy,
    task: FunctionalTask,
    targets: Float[np.ndarray, " n"],
    seeds: Int[np.ndarray, " n"],
    num_envs: int,
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> Rollouts:
    """Play exactly one episode for each target and seed, `num_envs` at a time.

    A row whose episode ends takes the next one from the queue in the same step, as `run_episodes`
    has it. Each episode depends on its target and seed alone: the keys of its environment are those
    that Gymnasium's `FunctionalJaxEnv` would draw when reset with that seed.

    Raises:
        RolloutFault: when the environment gives numbers that are not finite, with the episodes
            that had ended.
        ValueError: for other spaces than the policy's, and for an episode that outlasts the
            timesteps which the model knows.
    """
    return device_player(policy, task, min(num_envs, len(seeds)))(targets, seeds, on_step)


def _step(
    policy: ReturnConditionedPolicy,
    task: FunctionalTask,
    params: Any,
    queue: Queue,
    num_lanes: int,
    stage: Stage,
) -> tuple[Stage, Seen]:
    """One step of a lane; rows whose episode ended take the next of its episodes."""
    env, spec = task.env, policy.spec
    live = stage.episodes >= 0
    playing = jnp.maximum(stage.episodes, 0)
    world, observations, keys = _restart(env, queue.seeds[playing], live & stage.starting, stage)

    start = (stage.starting, queue.requests[playing], queue.action_seeds[playing])
    chosen, agent = policy.pure_step(
        params, stage.agent, spec.encode_observation(observations), stage.rewards, start
    )
    actions = spec.decode_action(chosen)
    rngs, keys = _split(keys)
    after = _like(world, jax.vmap(env.transition)(world, actions, rngs))
    seen_next = _like(observations, jax.vmap(env.observation)(after, rngs))
    rewards = jax.vmap(lambda *args: jnp.asarray(env.reward(*args), jnp.float32).reshape(()))(
        world, actions, after, rngs
    )
    ended = jax.vmap(lambda *args: jnp.asarray(env.terminal(*args), bool).reshape(()))(after, rngs)
    if task.max_episode_steps is not None:
        ended = ended | (agent.timestep >= task.max_episode_steps)
    ended = ended & live
    finite = _finite(observations) & _finite(seen_next) & jnp.isfinite(rewards)

    following = stage.upcoming + num_lanes * (jnp.cumsum(ended, dtype=jnp.int32) - 1)
    following = jnp.where(following < len(queue.seeds), following, -1)
    episodes = jnp.where(ended, following, stage.episodes)
    going_on = Stage(
        agent=agent,
        world=after,
        keys=keys,
        observations=seen_next,
        rewards=spec.transforms.rewards_while_playing(rewards),
        starting=ended | (episodes < 0),  # an idle row stays at timestep 0, which always exists
        episodes=episodes,
        upcoming=stage.upcoming + num_lanes * ended.sum(dtype=jnp.int32),
    )
    return going_on, Seen(stage.episodes, agent.timestep - 1, rewards, ended, finite)


def _restart(
    env: FuncEnv, seeds: Array, where: Bool[Array, " B"], stage: Stage
) -> tuple[Any, Any, Array]:
    """States, observations and keys, new ones in these rows; in most steps there are none."""
    before = stage.world, stage.observations, stage.keys

    def renew() -> Any:
        def pick(new: Array, old: Array) -> Array:
            return jnp.where(where.reshape(-1, *[1] * (old.ndim - 1)), new, old)

        return jax.tree.map(pick, _like(before, _first(env, seeds)), before)

    return jax.lax.cond(where.any(), renew, lambda: before)


def _first(env: FuncEnv, seeds: Array) -> tuple[Any, Any, Array]:
    """States, first observations and keys of the episodes with these seeds."""
    rngs, keys = _split(jax.vmap(jax.random.PRNGKey)(seeds))
    world = jax.vmap(env.initial)(rngs)
    observations = jax.vmap(env.observation)(world, rngs)
    return _like(world, world), _like(observations, observations), keys


def _split(keys: Array) -> tuple[Array, Array]:
    """A key to use now and one to keep, for each row."""
    both = jax.vmap(jax.random.split)(keys)
    return both[:, 0], both[:, 1]


def _like(before: Any, after: Any) -> Any:
    """`after` in the types of `before`, as a scan must have it and environments do not mind.

    What began as a Python number is no exception: its type is then said, not left open.
    """

    def match(old: Any, new: Any) -> Array:
        old, new = jnp.asarray(old), jnp.asarray(new)
        return new if jnp.issubdtype(old.dtype, jax.dtypes.prng_key) else new.astype(old.dtype)

    return jax.tree.map(match, before, after)


def _finite(observations: Any) -> Bool[Array, " B"]:
    """Of each row, all that it observes."""
    parts = [
        jnp.isfinite(part).reshape(len(part), -1).all(axis=1)
        for part in jax.tree.leaves(observations)
    ]
    return jnp.stack(parts).all(axis=0)


def _count(seen: Seen, tally: Tally, policy: ReturnConditionedPolicy, task: FunctionalTask) -> None:
    """Tally a chunk, or what of it came before the first thing that may not be."""
    live, longest = seen.episodes >= 0, policy.spec.max_timesteps
    outlasts, broken = live & (seen.timesteps >= longest), live & ~seen.finite
    wrong = outlasts | broken
    sound = int(wrong.any(axis=1).argmax()) if wrong.any() else len(wrong)
    steps = (seen.episodes, seen.timesteps, seen.rewards, seen.ended)
    tally.add(*(field[:sound] for field in steps))
    if sound == len(wrong):
        return
    if outlasts[sound].any():
        raise ValueError(
            f"timestep {longest} is past the longest this model knows, {longest}; end the "
            f"episode there, or train with a larger --model.max-timesteps"
        )
    row = int(broken[sound].argmax())
    episodes, timesteps, rewards = (field[sound, row] for field in steps[:3])
    fault = EnvironmentFault(
        f"{task.name} on the device, row {row}, episode {episodes}, step {timesteps}: gave a "
        f"number that is not finite (reward {rewards})"
    )
    raise RolloutFault(fault, tally)
