"""CartPole-v1 with a 200-step limit: logged episodes of players of every skill."""

from __future__ import annotations

import gymnasium
import numpy as np

from dt.data import EpisodeDataset

TIME_LIMIT = 200
# Push towards the side to which position, velocity, angle and angular velocity add up to.
GAINS = np.array([0.05, 0.15, 1.0, 0.4])


def collect_cartpole(num_episodes: int = 2000, seed: int = 0) -> EpisodeDataset:
    """Play whole episodes at once, a row each, in Gymnasium's vectorised CartPole.

    A player balances the pole well until attention is lost, and then pushes at random. Skill is
    how long attention lasts on average, 10 to 260 steps, drawn for each episode, so that returns
    cover 10 to 200; on top of that every push is random with a chance of 0 to 20 %.
    """
    rng = np.random.default_rng(seed)
    envs = gymnasium.make_vec(
        "CartPole-v1",
        num_envs=num_episodes,
        vectorization_mode="vector_entry_point",
        max_episode_steps=TIME_LIMIT,
    )
    hazard = 1.0 / (10.0 + 250.0 * rng.uniform(size=num_episodes))
    noise = rng.uniform(0.0, 0.2, size=num_episodes)
    attentive = np.ones(num_episodes, bool)
    alive = np.ones(num_episodes, bool)
    log = []
    observations, _ = envs.reset(seed=seed)
    for _ in range(TIME_LIMIT):
        attentive &= rng.uniform(size=num_episodes) >= hazard
        skilled = attentive & (rng.uniform(size=num_episodes) >= noise)
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
