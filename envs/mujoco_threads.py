"""Step many rows of Gymnasium's MuJoCo tasks on all cores, the same episodes to the last bit.

MuJoCo's own threads step the rows (`mujoco.batch`). What a row carries from step to step is what
a Gymnasium environment carries, the constraint solver's warm start included, so that both walk
the same trajectory to the last bit. `mujoco.rollout` takes a warm start but returns none: without
one the cheetah's joints are 0.04 off after 100 steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import mujoco
import numpy as np
from gymnasium.envs.mujoco import (
    MujocoEnv,
    ant_v4,
    ant_v5,
    half_cheetah_v4,
    half_cheetah_v5,
    hopper_v4,
    hopper_v5,
    walker2d_v4,
    walker2d_v5,
)
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float, Int
from mujoco.batch import Batch

from dt.play.faults import Infos

from . import mujoco_tasks
from .mujoco_tasks import Motion, Outcome

_CARRIED = mujoco.mjtState.mjSTATE_INTEGRATION


class MujocoVectorEnv(VectorEnv):
    """`num_envs` rows of one task, seeded, reset, ended and described as SyncVectorEnv's are.

    Args:
        max_episode_steps: steps after which a row is truncated; None or -1: never.
        num_threads: 0 for one a logical core.
        kwargs: what Gymnasium's environment takes.

    Raises:
        ValueError: when asked to render.
    """

    env_type: ClassVar[Callable[..., MujocoEnv]]
    outcome: ClassVar[Callable[[MujocoEnv, Motion], Outcome]]
    # Read by who must know before making one; "autoreset_mode" is the one that was chosen.
    metadata: dict[str, Any] = {"autoreset_modes": tuple(AutoresetMode)}

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        num_threads: int = 0,
        render_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        if render_mode is not None:
            raise ValueError(
                f"render_mode is {render_mode!r}, but rows on threads draw nothing; "
                f"make the environments with vectorization_mode='sync'"
            )
        super().__init__()
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        # Lends its model and weights to every row, and its reset to each in turn.
        with unwarned():
            self._env = type(self).env_type(**kwargs)
        self.num_envs = num_envs
        self.metadata = {
            **self._env.metadata,
            **type(self).metadata,
            "autoreset_mode": self.autoreset_mode,
        }
        self.single_observation_space = self._env.observation_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.single_action_space = self._env.action_space
        self.action_space = batch_space(self.single_action_space, num_envs)

        # Only the ant feels contacts, in v4 when asked to. They lie outside the carried state.
        feels = hasattr(self._env, "contact_forces")
        self._feels_contacts = feels and getattr(self._env, "_use_contact_forces", True)
        model = self._env.model
        self._batch = Batch(model, num_envs, num_threads, persistent=self._feels_contacts)
        self._controls, self._qpos, self._qvel = map(self._batch.bind, ("ctrl", "qpos", "qvel"))
        self._position = self._paid_position()
        self._limit = np.inf if max_episode_steps in (None, -1) else max_episode_steps
        self._observations = np.zeros((num_envs, *(self.single_observation_space.shape or ())))
        self._rngs = [seeding.np_random()[0] for _ in range(num_envs)]
        self._elapsed = np.full(num_envs, -1)  # steps of the row's episode; -1: never reset
        self._ended = np.zeros(num_envs, bool)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Float[np.ndarray, "B O"], Infos]:
        """Start episodes in all rows, or in those of `options["reset_mask"]`.

        Args:
            seed: one for each row, or the first row's, counting up; None: go on drawing.
        """
        if seed is None or isinstance(seed, int):
            first = seed
            seed = [None if first is None else first + row for row in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"seed has {len(seed)} numbers; give one for each of {self.num_envs}")
        rows = np.arange(self.num_envs)
        if options and "reset_mask" in options:
            mask = options["reset_mask"]
            valid = isinstance(mask, np.ndarray) and mask.dtype == bool
            if not valid or mask.shape != (self.num_envs,) or not mask.any():
                raise ValueError(
                    f"options['reset_mask'] is {mask!r}; give an array of {self.num_envs} bools, "
                    f"at least one of them true"
                )
            rows = np.flatnonzero(mask)
        infos: Infos = {}
        self._start(rows, infos, seed)
        return self._observations.copy(), infos

    def step(
        self, actions: Float[np.ndarray, "B A"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Infos]:
        """Step every row; under NEXT_STEP a row that has ended starts anew instead."""
        actions = np.ascontiguousarray(actions)
        if actions.shape != self.action_space.shape:
            raise ValueError(
                f"actions have shape {actions.shape}; give one action for each row, "
                f"{self.action_space.shape}"
            )
        if (self._elapsed < 0).any():
            raise ResetNeeded("step was called before reset; reset all rows first")
        waiting = np.flatnonzero(self._ended)
        if waiting.size and self.autoreset_mode is AutoresetMode.DISABLED:
            raise ResetNeeded(f"rows {waiting.tolist()} have ended; reset them with a reset_mask")
        rows = np.flatnonzero(~self._ended)
        done = self._move(rows, actions[rows])

        rewards = np.zeros(self.num_envs)
        terminations, truncations = np.zeros((2, self.num_envs), bool)
        self._elapsed[rows] += 1
        self._observations[rows] = done.observations
        rewards[rows] = done.rewards
        terminations[rows] = done.terminations
        truncations[rows] = self._elapsed[rows] >= self._limit

        ended = terminations | truncations
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            infos = self._final_infos(done, ended) | _spread(done.infos, rows, ~ended)
            self._start(np.flatnonzero(ended), infos)
        else:
            infos = _spread(done.infos, rows, ~self._ended)
            self._start(waiting, infos)
            self._ended = ended
        return self._observations.copy(), rewards, terminations, truncations, infos

    def close_extras(self, **kwargs: Any) -> None:
        self._env.close()

    def _move(self, rows: Int[np.ndarray, " n"], actions: Float[np.ndarray, "n A"]) -> Outcome:
        """Step the physics of these rows `frame_skip` times, and compute what that is worth."""
        before = self._position[rows]
        self._controls[rows] = actions
        self._batch.step(rows, nstep=self._env.frame_skip)
        motion = Motion(
            actions=actions,
            before=before,
            after=self._position[rows],
            qpos=self._qpos[rows],
            qvel=self._qvel[rows],
            contact_forces=self._contact_forces(rows) if self._feels_contacts else None,
        )
        return type(self).outcome(self._env, motion)

    def _start(
        self,
        rows: Int[np.ndarray, " n"],
        infos: Infos,
        seeds: list[int | None] | None = None,
    ) -> None:
        """Start an episode in each of these rows as Gymnasium's own `reset` does, by calling it."""
        env = self._env
        for row in rows.tolist():
            env.np_random = self._rngs[row]
            self._observations[row], info = env.reset(seed=seeds[row] if seeds else None)
            self._rngs[row] = env.np_random
            mujoco.mj_getState(env.model, env.data, self._batch.state[row], _CARRIED)
            self._add_info(infos, info, row)
        self._batch.forward(rows)  # places the bodies, whose positions the next step starts from
        self._elapsed[rows] = 0
        self._ended[rows] = False

    def _final_infos(self, done: Outcome, ended: Bool[np.ndarray, " B"]) -> Infos:
        """Collect the last observations and infos of rows that start anew as they end."""
        if not ended.any():
            return {}
        observations = np.full(self.num_envs, None, object)
        for row in np.flatnonzero(ended):
            observations[row] = done.observations[row]
        return {
            "final_obs": observations,
            "_final_obs": ended.copy(),
            "final_info": _spread(done.infos, np.arange(self.num_envs), ended),
            "_final_info": ended.copy(),
        }

    def _paid_position(self) -> Float[np.ndarray, "B axes"]:
        """View, alive, what is paid for its speed: x, unless a task says otherwise."""
        return self._qpos[:, :1]

    def _contact_forces(self, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n F"]:
        """Compute them as they were in the last step of physics, when Gymnasium takes them."""
        model, data = self._env.model, self._env.data
        forces = np.empty((len(rows), data.cfrc_ext.size))
        for index, row in enumerate(rows.tolist()):
            self._batch.get_data(row, data)
            mujoco.mj_rnePostConstraint(model, data)
            forces[index] = data.cfrc_ext.ravel()
        return forces


class HopperV4(MujocoVectorEnv):
    env_type, outcome = hopper_v4.HopperEnv, mujoco_tasks.hopper_v4


class HopperV5(MujocoVectorEnv):
    env_type, outcome = hopper_v5.HopperEnv, mujoco_tasks.hopper_v5


class Walker2dV4(MujocoVectorEnv):
    env_type, outcome = walker2d_v4.Walker2dEnv, mujoco_tasks.walker2d_v4


class Walker2dV5(MujocoVectorEnv):
    env_type, outcome = walker2d_v5.Walker2dEnv, mujoco_tasks.walker2d_v5


class HalfCheetahV4(MujocoVectorEnv):
    env_type, outcome = half_cheetah_v4.HalfCheetahEnv, mujoco_tasks.half_cheetah_v4


class HalfCheetahV5(MujocoVectorEnv):
    env_type, outcome = half_cheetah_v5.HalfCheetahEnv, mujoco_tasks.half_cheetah_v5


class Ant(MujocoVectorEnv):
    def _paid_position(self) -> Float[np.ndarray, "B 2"]:
        # A body's place is one step of physics behind the joints'; so it is in Gymnasium's.
        body = self._env.data.body(getattr(self._env, "_main_body", "torso")).id
        return self._batch.bind("xpos")[:, body, :2]


class AntV4(Ant):
    env_type, outcome = ant_v4.AntEnv, mujoco_tasks.ant_v4


class AntV5(Ant):
    env_type, outcome = ant_v5.AntEnv, mujoco_tasks.ant_v5


@contextmanager
def unwarned() -> Iterator[None]:
    """Keep MuJoCo from saying, on the screen and in a file, that Gymnasium's models are old."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def _spread(
    values: dict[str, np.ndarray], rows: Int[np.ndarray, " n"], chosen: np.ndarray
) -> Infos:
    """Give infos as Gymnasium's vector environments do: an array over all rows and its mask."""
    infos: Infos = {}
    if not chosen.any():
        return infos
    kept = chosen[rows]
    for key, value in values.items():
        infos[key] = np.zeros(len(chosen), value.dtype)
        infos[key][chosen] = value[kept]
        infos[f"_{key}"] = chosen.copy()
    return infos
