"""Train in an environment of one's own whose observations are dictionaries.

A hand in a plane shall be at a goal: it sees where it is and where the goal is, and how close it
was is its reward. The log is made by a loop of one's own, of players with more and less skill.
It takes five minutes of a core. Asked for -41.6, -21.7, -1.8 it brought -38.1, -21.3, -6.6.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

import dt

LENGTH = 20  # steps of an episode


class Reach(gymnasium.Env):
    """The hand moves by a tenth of the action at most."""

    def __init__(self) -> None:
        place = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = spaces.Dict(hand=place, goal=place)
        self.action_space = place

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        self.hand, self.goal = self.np_random.uniform(-1, 1, (2, 2)).astype(np.float32)
        return self._seen(), {}

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        self.hand = np.clip(self.hand + 0.1 * action, -1, 1).astype(np.float32)
        return self._seen(), -float(np.linalg.norm(self.goal - self.hand)), False, False, {}

    def _seen(self) -> dict[str, np.ndarray]:
        return {"hand": self.hand.copy(), "goal": self.goal.copy()}


# In this folder, or with it on Python's path, commands know it by its module:
# dt evaluate RUN --env dict_observations:Reach-v0
gymnasium.register("Reach-v0", entry_point=f"{__name__}:Reach", max_episode_steps=LENGTH)


def collect(episodes: int) -> list[dt.Episode]:
    """Play by a rule of much or little skill: what an episode earns is what can be asked for."""
    env, rng, played = gymnasium.make("Reach-v0"), np.random.default_rng(0), []
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        skill, observations, actions, rewards = rng.uniform(-1, 1), [observation], [], []
        over = False
        while not over:
            way = observation["goal"] - observation["hand"]
            action = np.clip(skill * 10 * way + rng.normal(0, 0.2, 2), -1, 1).astype(np.float32)
            observation, reward, terminated, truncated, _ = env.step(action)
            observations.append(observation)
            actions.append(action)
            rewards.append(reward)
            over = terminated or truncated
        played.append(dt.Episode.of_steps(observations, actions, rewards, terminated=terminated))
    return played


def main(episodes: int = 1000, num_steps: int = 3000, **changes: Any) -> dt.Card:
    """Train, evaluate and act; `changes` as for `dt.train`."""
    data = collect(episodes)
    run = dt.train(data, env_id="Reach-v0", num_steps=num_steps, evaluate=False, **changes)
    card = dt.evaluate(run, ["p10:p90:3"], episodes=10)
    for row in card.targets:
        print(f"asked for {row.target:.1f}, {row.return_mean:.1f} came")

    policy = run.policy()
    env = gymnasium.make("Reach-v0")
    observation, _ = env.reset(seed=0)
    policy.reset(card.targets[-1].target)  # one number: one environment, without a batch axis
    over, received = False, 0.0
    while not over:
        observation, reward, terminated, truncated, _ = env.step(policy.act(observation))
        policy.observe(float(reward))
        received, over = received + float(reward), terminated or truncated
    print(f"one more episode: {received:.1f}, the hand at {observation['hand']}")
    return card


if __name__ == "__main__":
    main()
