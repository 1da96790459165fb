"""CartPole-v1 with a 200-step limit: logged episodes of players of every skill."""

from __future__ import annotations

import gymnasium
import numpy as np

from dt.collect.behaviors.acting import Behavior, Generators
from dt.data import EpisodeDataset

TIME_LIMIT = 200
# Push towards the side to which position, velocity, angle and angular velocity add up to.
GAINS = np.array([0.05, 0.15, 1.0, 0.4])
MAX_NOISE = 0.2


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
    hazard = lapse_chance(rng.uniform(size=num_episodes))
    noise = rng.uniform(0.0, MAX_NOISE, size=num_episodes)
    attentive = np.ones(num_episodes, bool)
    alive = np.ones(num_episodes, bool)
    log = []
    observations, _ = envs.reset(seed=seed)
    for _ in range(TIME_LIMIT):
        attentive &= rng.uniform(size=num_episodes) >= hazard
        skilled = attentive & (rng.uniform(size=num_episodes) >= noise)
        actions = push(observations, skilled, rng.integers(0, 2, size=num_episodes))
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


def cartpole_player(
    observation_space: gymnasium.Space, action_space: gymnasium.Space, deterministic: bool
) -> Behavior:
    """The demo's player, a skill of its own in each episode; `deterministic`: always at its best.

    Raises:
        ValueError: in an environment that is no cart with a pole.
    """
    if observation_space.shape != GAINS.shape or action_space != gymnasium.spaces.Discrete(2):
        raise ValueError(
            f"--policy scripted:cartpole reads 4 numbers and pushes left or right, but the "
            f"environment has {observation_space} and {action_space}"
        )
    player = _Player()
    act = _best_push if deterministic else player.act
    return Behavior("scripted:cartpole", act, player.start)


class _Player:
    """What every row's player is like, and whether it still attends."""

    def start(self, rows: np.ndarray, rngs: Generators) -> None:
        if rows.all():
            self.hazard, self.noise = np.zeros((2, len(rows)))
            self.attentive = np.ones(len(rows), bool)
        for row in np.flatnonzero(rows):
            self.hazard[row] = lapse_chance(rngs[row].random())
            self.noise[row] = rngs[row].uniform(0.0, MAX_NOISE)
            self.attentive[row] = True

    def act(self, observations: np.ndarray, rngs: Generators) -> np.ndarray:
        attention, care, pushes = np.array([[*rng.random(2), rng.integers(2)] for rng in rngs]).T
        self.attentive &= attention >= self.hazard
        return push(observations, self.attentive & (care >= self.noise), pushes)


def lapse_chance(skill: np.ndarray | float) -> np.ndarray | float:
    """Give the chance to lose attention in a step, so that it lasts 10 to 260; skill 0 to 1."""
    return 1.0 / (10.0 + 250.0 * skill)


def push(observations: np.ndarray, skilled: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Push every row left (0) or right (1): where it keeps the pole up, or as said otherwise."""
    return np.where(skilled, observations @ GAINS > 0, otherwise).astype(np.int64)


def _best_push(observations: np.ndarray, rngs: Generators) -> np.ndarray:
    return push(observations, np.ones(len(observations), bool), np.zeros(len(observations)))
