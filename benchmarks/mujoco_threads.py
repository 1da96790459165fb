"""MuJoCo's threads against one environment after another: how much faster, and whether the same.

    python benchmarks/mujoco_threads.py              speed against Gymnasium's sync environments
    python benchmarks/mujoco_threads.py --equality   every task against Gymnasium's, 1000 steps

Both sides take the same random actions and start anew as their episodes end. Rounds alternate, so
that whatever else the machine does meets both sides; the ratio is the median over the rounds.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from statistics import median

import dt_envs as our_envs
import gymnasium
import numpy as np
import tyro
from dt_envs.mujoco_threads import unwarned
from gymnasium.vector import VectorEnv


@dataclass(frozen=True)
class Config:
    """MuJoCo tasks on threads against Gymnasium's own vector environments."""

    envs: tuple[str, ...] = ()
    """Tasks; empty: Hopper-v4 for speed, all for equality."""
    num_envs: int = 64
    steps: int = 100
    """Steps of every environment in a round of the speed test."""
    rounds: int = 7
    num_threads: int = 0
    """0: one a logical core."""
    equality: bool = False
    """Compare states, rewards and ends over 1000 steps of 4 environments instead of speeds."""


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    warnings.filterwarnings("ignore", message=".*is out of date.*")
    if config.equality:
        print(f"{'task':16}{'observations':>14}{'rewards':>10}{'ends':>7}   largest differences")
        for env_id in config.envs or our_envs.THREADED:
            observations, rewards, ends, differing = differences(env_id)
            verdict = "ends equal" if differing == 0 else f"{differing} ENDS DIFFER"
            print(
                f"{env_id:16}{observations:14.1e}{rewards:10.1e}{ends:7d}   {verdict}", flush=True
            )
        return
    print(f"{config.num_envs} environments, random actions, {config.rounds} rounds; steps a second")
    print(f"{'task':16}{'sync':>9}{'threads':>9}{'ratio':>7}   lowest and highest ratio")
    for env_id in config.envs or ("Hopper-v4",):
        speeds = np.array(alternate(env_id, config))
        ratios = speeds[:, 1] / speeds[:, 0]
        sync, threads = np.median(speeds, axis=0)
        print(
            f"{env_id:16}{sync:9.0f}{threads:9.0f}{median(ratios):7.2f}   "
            f"{ratios.min():.2f} to {ratios.max():.2f}",
            flush=True,
        )


def pair(env_id: str, num_envs: int, num_threads: int = 0) -> tuple[VectorEnv, VectorEnv]:
    """Gymnasium's environments one after another, and ours on threads."""
    with unwarned():
        sync = gymnasium.make_vec(env_id, num_envs, "sync")
    mode = "vector_entry_point"
    return sync, gymnasium.make_vec(env_id, num_envs, mode, num_threads=num_threads)


def alternate(env_id: str, config: Config) -> list[tuple[float, float]]:
    """Steps a second of both sides in each round."""
    both = pair(env_id, config.num_envs, config.num_threads)
    actions = random_actions(both[0], config.steps)
    for envs in both:
        envs.reset(seed=0)
        envs.step(actions[0])
    speeds = []
    for _ in range(config.rounds):
        seconds = []
        for envs in both:
            begin = time.perf_counter()
            for action in actions:
                envs.step(action)
            seconds.append(time.perf_counter() - begin)
        count = config.steps * config.num_envs
        speeds.append((count / seconds[0], count / seconds[1]))
    for envs in both:
        envs.close()
    return speeds


def differences(env_id: str, num_steps: int = 1000) -> tuple[float, float, int, int]:
    """Largest difference of observations and of rewards, episodes ended, ends that differ."""
    sync, threads = pair(env_id, num_envs=4)
    observations = [envs.reset(seed=0)[0] for envs in (sync, threads)]
    worst_observation = np.abs(observations[0] - observations[1]).max()
    worst_reward, ends, differing = 0.0, 0, 0
    # One step more than the time limit, so that it and the reset that follows are compared too.
    for action in random_actions(sync, num_steps + 1):
        theirs, ours = sync.step(action), threads.step(action)
        worst_observation = max(worst_observation, np.abs(theirs[0] - ours[0]).max())
        worst_reward = max(worst_reward, np.abs(theirs[1] - ours[1]).max())
        ends += int((theirs[2] | theirs[3]).sum())
        differing += int(((theirs[2] != ours[2]) | (theirs[3] != ours[3])).sum())
    sync.close()
    threads.close()
    return float(worst_observation), float(worst_reward), ends, differing


def random_actions(envs: VectorEnv, num_steps: int) -> np.ndarray:
    envs.action_space.seed(0)
    return np.stack([envs.action_space.sample() for _ in range(num_steps)])


if __name__ == "__main__":
    main()
