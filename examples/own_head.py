"""Add an action head from outside the package, and train with it.

The head says of each number of an action where its middle lies and how far around it is likely: a
Laplace distribution, whose middle is the median and which outliers in the data pull about less.
It takes two minutes of a core.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import dt


class LaplaceHead(nnx.Module):
    """Maps vectors (..., D) to A medians and A logarithms of spreads, (..., 2 A)."""

    def __init__(self, made_for: dt.HeadInputs, rngs: nnx.Rngs):
        self.bounded = tuple(made_for.bounded.tolist())  # which numbers have the space [-1, 1]
        self.out = made_for.recipe.linear(made_for.width, 2 * made_for.num_numbers, rngs=rngs)

    def __call__(self, vectors: jax.Array) -> jax.Array:
        return self.out(vectors)

    def log_prob(self, prediction: jax.Array, actions: jax.Array) -> jax.Array:
        """Compute the log-density of actions (..., A), in the model's units."""
        median, spread = self._parts(prediction)
        return -(jnp.abs(actions - median) / spread + jnp.log(2 * spread)).sum(axis=-1)

    def loss(
        self, prediction: jax.Array, actions: jax.Array, key: jax.Array | None = None
    ) -> jax.Array:
        """Compute what a wrong prediction costs at each step, (...)."""
        return -self.log_prob(prediction, actions)

    def act(self, prediction: jax.Array, key: jax.Array, sampling: dt.Sampling) -> jax.Array:
        """Take the medians, or draw actions (..., A)."""
        median, spread = self._parts(prediction)
        if sampling.deterministic:
            return median
        drawn = median + sampling.temperature * spread * jax.random.laplace(key, median.shape)
        return jnp.where(np.array(self.bounded), jnp.clip(drawn, -1.0, 1.0), drawn)

    def _parts(self, prediction: jax.Array) -> tuple[jax.Array, jax.Array]:
        median, log_spread = jnp.split(prediction, 2, axis=-1)
        median = jnp.where(np.array(self.bounded), jnp.tanh(median), median)
        return median, jnp.exp(jnp.clip(log_spread, -5.0, 2.0))


dt.HEADS["laplace"] = dt.HeadKind("laplace", LaplaceHead)


def swing(episodes: int, length: int) -> list[dt.Episode]:
    """Play pendulums that are pushed the way they swing, some harder than others."""
    env, rng, played = gymnasium.make("Pendulum-v1"), np.random.default_rng(0), []
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        strength, observations, actions, rewards = rng.uniform(0, 2), [observation], [], []
        for _ in range(length):
            push = strength * np.sign(observation[2]) + rng.normal(0, 0.1)
            action = np.clip([push], -2, 2).astype(np.float32)
            observation, reward, _, _, _ = env.step(action)
            observations.append(observation)
            actions.append(action)
            rewards.append(reward)
        played.append(dt.Episode.of_steps(observations, actions, rewards, terminated=False))
    return played


# Small, and a rate to learn by in 3,000 updates: the preset's rises for the first thousand.
MODEL = {"head": "laplace", "num_layers": 2, "width": 64}
OPTIMIZER = {"learning_rate": 1e-3, "warmup_steps": 200}


def main(episodes: int = 300, length: int = 200, num_steps: int = 3000, **changes: Any) -> dt.Card:
    """Train, and play three returns; `changes` as for `dt.train`."""
    changes = {"model": MODEL, "optimizer": OPTIMIZER, "evaluate": False, **changes}
    data = swing(episodes, length)
    run = dt.train(data, env_id="Pendulum-v1", num_steps=num_steps, **changes)
    card = dt.evaluate(run, ["p5:p95:3"], episodes=5, deterministic=False)
    for row in card.targets:
        print(f"asked for {row.target:.0f}, {row.return_mean:.0f} came")
    return card


if __name__ == "__main__":
    main()
