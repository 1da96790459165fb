"""Compute what Gymnasium's MuJoCo tasks observe, pay and end at, for many rows at once.

Each formula is that of `step` in gymnasium/envs/mujoco/NAME.py, in the same order and with the
same types, so that it rounds alike: float32 actions give a float32 control cost. A formula's
`env` is an environment of Gymnasium's, read for the weights and ranges that it was made with.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from jaxtyping import Bool, Float

# A MujocoEnv of Gymnasium's; its base class does not declare the weights and ranges of the tasks.
Task: TypeAlias = Any


class Motion(NamedTuple):
    """What one step of n rows did; positions are of what is paid for its speed, x or x and y."""

    actions: Float[np.ndarray, "n A"]
    before: Float[np.ndarray, "n axes"]
    after: Float[np.ndarray, "n axes"]
    qpos: Float[np.ndarray, "n nq"]
    qvel: Float[np.ndarray, "n nv"]
    contact_forces: Float[np.ndarray, "n F"] | None


class Outcome(NamedTuple):
    """What the step is worth, row by row; the infos are arrays of n."""

    observations: Float[np.ndarray, "n O"]
    rewards: Float[np.ndarray, " n"]
    terminations: Bool[np.ndarray, " n"]
    infos: dict[str, np.ndarray]


def hopper_v4(env: Task, motion: Motion) -> Outcome:
    return _walking_v4(env, motion, _hopper_is_healthy(env, motion))


def hopper_v5(env: Task, motion: Motion) -> Outcome:
    return _walking_v5(env, motion, _hopper_is_healthy(env, motion))


def walker2d_v4(env: Task, motion: Motion) -> Outcome:
    return _walking_v4(env, motion, _is_upright(env, motion))


def walker2d_v5(env: Task, motion: Motion) -> Outcome:
    return _walking_v5(env, motion, _is_upright(env, motion))


def half_cheetah_v4(env: Task, motion: Motion) -> Outcome:
    return _running(env, motion, "reward_run")


def half_cheetah_v5(env: Task, motion: Motion) -> Outcome:
    return _running(env, motion, "reward_forward")


def ant_v4(env: Task, motion: Motion) -> Outcome:
    forward = _velocity(env, motion)[:, 0]
    healthy = _ant_is_healthy(env, motion)
    survive = (healthy | env._terminate_when_unhealthy) * env._healthy_reward
    costs = control_cost = _control_cost(env, motion)
    infos = {
        "reward_forward": forward,
        "reward_ctrl": -control_cost,
        "reward_survive": survive,
        **_whereabouts(motion.after),
        **_velocities(env, motion),
        "forward_reward": forward,
    }
    forces = None
    if env._use_contact_forces:
        forces = _clipped_forces(env, motion)
        contact_cost = _contact_cost(env, forces)
        costs = control_cost + contact_cost
        infos["reward_ctrl"] = -contact_cost  # so it stands in Gymnasium's
    return Outcome(
        _ant_observations(env, motion, forces),
        forward + survive - costs,
        ~healthy & env._terminate_when_unhealthy,
        infos,
    )


def ant_v5(env: Task, motion: Motion) -> Outcome:
    forward = _velocity(env, motion)[:, 0] * env._forward_reward_weight
    healthy = _ant_is_healthy(env, motion)
    survive = healthy * env._healthy_reward
    forces = _clipped_forces(env, motion)
    control_cost, contact_cost = _control_cost(env, motion), _contact_cost(env, forces)
    infos = {
        **_whereabouts(motion.qpos[:, :2]),
        **_velocities(env, motion),
        "reward_forward": forward,
        "reward_ctrl": -control_cost,
        "reward_contact": -contact_cost,
        "reward_survive": survive,
    }
    # The first body is the world, whose six numbers v4 observes and v5 does not.
    seen = forces[:, 6:] if env._include_cfrc_ext_in_observation else None
    return Outcome(
        _ant_observations(env, motion, seen),
        forward + survive - (control_cost + contact_cost),
        ~healthy & env._terminate_when_unhealthy,
        infos,
    )


def _walking_v4(env: Task, motion: Motion, healthy: Bool[np.ndarray, " n"]) -> Outcome:
    velocity = _velocity(env, motion)[:, 0]
    # v4 pays for health even in the step that ends the episode for want of it.
    survive = (healthy | env._terminate_when_unhealthy) * env._healthy_reward
    return Outcome(
        _planar_observations(env, motion, np.clip(motion.qvel, -10, 10)),
        env._forward_reward_weight * velocity + survive - _control_cost(env, motion),
        ~healthy & env._terminate_when_unhealthy,
        {"x_position": motion.after[:, 0], "x_velocity": velocity},
    )


def _walking_v5(env: Task, motion: Motion, healthy: Bool[np.ndarray, " n"]) -> Outcome:
    velocity = _velocity(env, motion)[:, 0]
    forward = env._forward_reward_weight * velocity
    survive = healthy * env._healthy_reward
    control_cost = _control_cost(env, motion)
    infos = {
        "x_position": motion.after[:, 0],
        "z_distance_from_origin": motion.qpos[:, 1] - env.init_qpos[1],
        "x_velocity": velocity,
        "reward_forward": forward,
        "reward_ctrl": -control_cost,
        "reward_survive": survive,
    }
    return Outcome(
        _planar_observations(env, motion, np.clip(motion.qvel, -10, 10)),
        forward + survive - control_cost,
        ~healthy & env._terminate_when_unhealthy,
        infos,
    )


def _running(env: Task, motion: Motion, forward_name: str) -> Outcome:
    velocity = _velocity(env, motion)[:, 0]
    forward = env._forward_reward_weight * velocity
    control_cost = _control_cost(env, motion)
    infos = {
        "x_position": motion.after[:, 0],
        "x_velocity": velocity,
        forward_name: forward,
        "reward_ctrl": -control_cost,
    }
    return Outcome(
        _planar_observations(env, motion, motion.qvel),
        forward - control_cost,
        np.zeros(len(velocity), bool),
        infos,
    )


def _velocity(env: MujocoEnv, motion: Motion) -> Float[np.ndarray, "n axes"]:
    return (motion.after - motion.before) / env.dt


def _control_cost(env: Task, motion: Motion) -> Float[np.ndarray, " n"]:
    return env._ctrl_cost_weight * np.sum(np.square(motion.actions), axis=1)


def _is_upright(env: Task, motion: Motion) -> Bool[np.ndarray, " n"]:
    z, angle = motion.qpos[:, 1], motion.qpos[:, 2]
    (min_z, max_z), (min_angle, max_angle) = env._healthy_z_range, env._healthy_angle_range
    return (min_z < z) & (z < max_z) & (min_angle < angle) & (angle < max_angle)


def _hopper_is_healthy(env: Task, motion: Motion) -> Bool[np.ndarray, " n"]:
    state = np.concatenate([motion.qpos[:, 2:], motion.qvel], axis=1)
    low, high = env._healthy_state_range
    return _is_upright(env, motion) & ((low < state) & (state < high)).all(axis=1)


def _ant_is_healthy(env: Task, motion: Motion) -> Bool[np.ndarray, " n"]:
    z = motion.qpos[:, 2]
    low, high = env._healthy_z_range
    finite = np.isfinite(motion.qpos).all(axis=1) & np.isfinite(motion.qvel).all(axis=1)
    return finite & (low <= z) & (z <= high)


def _planar_observations(
    env: Task, motion: Motion, velocity: Float[np.ndarray, "n nv"]
) -> Float[np.ndarray, "n O"]:
    hidden = 1 if env._exclude_current_positions_from_observation else 0
    return np.concatenate([motion.qpos[:, hidden:], velocity], axis=1)


def _ant_observations(
    env: Task, motion: Motion, forces: Float[np.ndarray, "n F"] | None
) -> Float[np.ndarray, "n O"]:
    hidden = 2 if env._exclude_current_positions_from_observation else 0
    contacts = [] if forces is None else [forces]
    return np.concatenate([motion.qpos[:, hidden:], motion.qvel, *contacts], axis=1)


def _clipped_forces(env: Task, motion: Motion) -> Float[np.ndarray, "n F"]:
    assert motion.contact_forces is not None
    return np.clip(motion.contact_forces, *env._contact_force_range)


def _contact_cost(env: Task, forces: Float[np.ndarray, "n F"]) -> Float[np.ndarray, " n"]:
    return env._contact_cost_weight * np.sum(np.square(forces), axis=1)


def _whereabouts(position: Float[np.ndarray, "n 2"]) -> dict[str, np.ndarray]:
    # Row by row as Gymnasium has it: the norm of one vector is a product of BLAS, whose kernels
    # round each processor's way, and the norm of many is a sum of NumPy's.
    distances = [np.linalg.norm(row, ord=2) for row in position]
    return {
        "x_position": position[:, 0],
        "y_position": position[:, 1],
        "distance_from_origin": np.array(distances, np.float64),
    }


def _velocities(env: MujocoEnv, motion: Motion) -> dict[str, np.ndarray]:
    velocity = _velocity(env, motion)
    return {"x_velocity": velocity[:, 0], "y_velocity": velocity[:, 1]}
