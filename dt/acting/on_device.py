"""Play of policy and environment as one program, on the device, in chunks of a scan.

A step of all rows is the policy's own step and the environment's, with nothing between them. What
the host does between chunks is count.

Rows are divided over the devices there are, and on a CPU into lanes of few: within a scan XLA gives
a CPU's device one thread, and that goes fastest where the lane's keys and values stay in its cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.experimental.functional import FuncEnv
from jaxtyping import Float, Int

from dt.acting.lanes import LaneProgram, Lanes, LaneState, Queue, StepCounts
from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.rollout import RolloutFault, Rollouts, Tally, action_seeds, check_spaces
from dt.files import first_line
from dt.parallel.rows import WHOLE, on_all, on_each, row_mesh
from dt.play.faults import BEYOND, EnvironmentFault

CHUNK = 64  # steps of all rows in one call: a few milliseconds that no host waits for


@dataclass(frozen=True)
class FunctionalTask:
    """An environment that runs on the device, and the time limit that its episodes end at."""

    name: str
    env: FuncEnv
    max_episode_steps: int | None = None


class _Named(FuncEnv):
    """The functions of a task's environment; what one of them raises names the environment."""

    def __init__(self, task: FunctionalTask):
        super().__init__()
        self._task = task
        for name in ("initial", "transition", "observation", "reward", "terminal"):
            setattr(self, name, self._named(name))

    def _named(self, name: str) -> Callable[..., object]:
        function = getattr(self._task.env, name)

        def named(*args: object) -> object:
            try:
                return function(*args)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # one that asks the process to exit would end it unsaid
                raise EnvironmentFault(
                    f"{self._task.name} on the device: {name} raised {type(error).__name__}: "
                    f"{first_line(error)}"
                ) from error

        return named


@runtime_checkable
class Player(Protocol):
    """What plays exactly one episode for each target and seed, like `run_episodes`."""

    def __call__(
        self,
        targets: Float[np.ndarray, " n"],
        seeds: Int[np.ndarray, " n"],
        on_step: Callable[[int, int], None] = ...,
    ) -> Rollouts: ...


def device_player(
    policy: ReturnConditionedPolicy,
    task: FunctionalTask,
    num_envs: int,
    chunk: int = CHUNK,
    devices: list[jax.Device] | None = None,
) -> Player:
    """Compile policy and environment into one program; `run_on_device` is the short way.

    Args:
        chunk: steps of all rows in one call of the program.
        devices: by default all of this process.

    Returns:
        What plays; called again with as many episodes it runs the same program.

    Raises:
        ValueError: for other spaces than the policy's.
    """
    check_spaces(policy, task.env.observation_space, task.env.action_space)
    devices = jax.local_devices() if devices is None else devices
    lanes = Lanes.of(num_envs, devices)
    program = LaneProgram(policy.program, _Named(task), task.max_episode_steps, lanes)
    mesh = row_mesh(devices[: lanes.num_devices])
    params = on_all(policy.params, mesh)
    axes = program.state_axes()
    begin_group = jax.jit(on_each(program.begin, mesh, WHOLE, axes))
    play = partial(program.play, chunk)
    play_chunk = jax.jit(on_each(play, mesh, (axes, WHOLE, WHOLE), (axes, 1)), donate_argnums=0)

    def player(
        targets: Float[np.ndarray, " n"],
        seeds: Int[np.ndarray, " n"],
        on_step: Callable[[int, int], None] = lambda done, steps: None,
    ) -> Rollouts:
        requests, guidance = policy.inputs_for(targets)
        episodes = Queue(
            jnp.asarray(seeds, jnp.uint32),
            jnp.asarray(requests),
            jnp.asarray(action_seeds(seeds), jnp.uint32),
            None if guidance is None else jnp.asarray(guidance, jnp.float32),
        )
        queue = on_all(episodes, mesh)
        tally = Tally(targets, seeds, policy.spec.transforms)
        group_of = lanes.group_of(np.arange(len(seeds)))

        def begun(group: int) -> tuple[LaneState, StepCounts]:
            return play_chunk(begin_group(queue, jnp.int32(group)), params, queue)

        try:
            playing = {group: begun(group) for group in range(lanes.num_groups)}
            while not tally.ended.all():
                for group, (state, counts) in list(playing.items()):  # the others go on meanwhile
                    _count(counts, tally, policy, task)
                    on_step(tally.num_done, tally.num_steps)
                    if tally.ended[group_of == group].all():
                        del playing[group]
                    else:
                        playing[group] = play_chunk(state, params, queue)
        except RolloutFault:
            raise
        except EnvironmentFault as fault:
            raise RolloutFault(fault, tally) from fault
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
        RolloutFault: when the environment raises anything (SystemExit too) or gives numbers that
            are not finite, or the policy can compute no action, with the episodes that had ended.
            What the rows do in the rest of the chunk is not counted.
        ValueError: for other spaces than the policy's, and for an episode that outlasts the
            timesteps which the model knows, where the policy's options say so.
    """
    return device_player(policy, task, min(num_envs, len(seeds)))(targets, seeds, on_step)


def _count(
    counts: StepCounts, tally: Tally, policy: ReturnConditionedPolicy, task: FunctionalTask
) -> None:
    """Tally a chunk, or what of it came before the first thing that may not be."""
    episodes, timesteps, rewards, ended, finite, computed = map(np.asarray, counts)
    live, longest = episodes >= 0, policy.spec.max_timesteps
    ends = policy.options.past_end == "error"
    outlasts, broken = live & ends & (timesteps >= longest), live & ~(finite & computed)
    wrong = outlasts | broken
    sound = int(wrong.any(axis=1).argmax()) if wrong.any() else len(wrong)
    tally.add(episodes[:sound], timesteps[:sound], rewards[:sound], ended[:sound])
    if sound == len(wrong):
        return
    if outlasts[sound].any():
        policy.options.check_timestep(longest, longest)
    row = int(broken[sound].argmax())
    place = f"row {row}, episode {episodes[sound, row]}, step {timesteps[sound, row]}"
    what = f"gave a number that is not finite (reward {rewards[sound, row]})"
    if not computed[sound, row]:
        what = f"the policy's action is no number or choice; {BEYOND}"
    raise RolloutFault(EnvironmentFault(f"{task.name} on the device, {place}: {what}"), tally)
