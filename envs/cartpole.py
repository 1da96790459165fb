"""CartPole-v1 with a 200-step limit: logged episodes of players of every skill."""

from __future__ import annotations

import gymnasium
import numpy as np

from dt.data import EpisodeDataset

TIME_LIMIT = 200
# Push towards the side to which position, velocity, angle and angular velocity add up to.
GAINS = np.array([0.05, 0.15, 1.0, 0.4])


def collect_cartpole(num_episodes: int = 4000, seed: int = 0) -> EpisodeDataset:
    """Play whole episodes at once, a row each, in Gymnasium's vectorised CartPole.

    A player knows how to balance the pole, but pushes at random every so often. Skill is the share
    of pushes that are not random, drawn for each episode, so that returns cover 10 to 200.
    """
    rng = np.random.default_rng(seed)
    envs = gymnasium.make_vec(
        "CartPole-v1",
        num_envs=num_episodes,
        vectorization_mode="vector_entry_point",
        max_episode_steps=TIME_LIMIT,
    )
    clumsiness = rng.uniform(0.2, 1.0, size=num_episodes)
    alive = np.ones(num_episodes, bool)
    log = []
    observations, _ = envs.reset(seed=seed)
    for _ in range(TIME_LIMIT):
        skilled = rng.uniform(size=num_episodes) >= clumsiness
        pushes = rng.integers(0, 2, size=num_episodes)
        actions = np.where(skilled, observations @ GAINS > 0, pushes).astype(np.int64)
        before = observations
        observations, rewards, terminated, truncated, _ = envs.step(actions)
        log.append((before, actions, rewards, terminated, truncated, alive.copy()))
        alive &= ~(terminated | truncated)  # what a row plays after its first episode is not kept
    observation_space, action_space = envs.single_observation_space, envs.single_action_space
    envs.close()

    # (time, row) -> the rows' episodes end to end
    fields = [np.stack(field).swapaxes(0, 1) for field in zip(*log, strict=True)]
    kept = fields.pop()
    observed, acted, rewarded, terminations, truncations = (field[kept] for field in fields)
    return EpisodeDataset(
        name="demo:cartpole",
        observations=observed.astype(np.float32),
        actions=acted,
        rewards=rewarded.astype(np.float32),
        terminations=terminations,
        truncations=truncations,
        offsets=np.concatenate([[0], np.cumsum(kept.sum(axis=1))]),
        observation_space=observation_space,
        action_space=action_space,
        env_id="CartPole-v1",
        env_kwargs={"max_episode_steps": TIME_LIMIT},
    )
