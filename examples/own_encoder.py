"""Add an encoder of observations from outside the package, and train with it.

The encoder says of each number of an observation how near it lies to each of a grid of points:
where what to do depends on thresholds, such as a pole's angle, that is easier to read than the
number itself.
It takes two minutes of a core.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import dt

GRID = np.linspace(-2.5, 2.5, 11, dtype=np.float32)  # in standard deviations


class GridEncoder(nnx.Module):
    """Maps numbers (..., n), of mean 0 and deviation 1, to vectors (..., width)."""

    def __init__(self, made_for: dt.EncoderInputs, rngs: nnx.Rngs):
        (count,) = made_for.shape
        self.out = made_for.recipe.linear(count * (len(GRID) + 1), made_for.width, rngs=rngs)

    def __call__(self, numbers: jax.Array) -> jax.Array:
        near = jnp.exp(-2.0 * (numbers[..., None] - GRID) ** 2)
        far = numbers[..., None]  # beyond the grid the number itself tells
        features = jnp.concatenate([near, far], axis=-1)
        return self.out(features.reshape(*numbers.shape[:-1], -1))


dt.ENCODERS["grid"] = dt.EncoderKind("grid", GridEncoder, reads="numbers")


def main(num_steps: int = 3000, **changes: Any) -> dt.Card:
    """Train on CartPole's demo, and play three returns; `changes` as for `dt.train`."""
    model = {"num_layers": 2, "width": 64, **changes.pop("model", {}), "number_encoder": "grid"}
    run = dt.train(
        "demo:cartpole", "cartpole", num_steps=num_steps, model=model, evaluate=False, **changes
    )
    card = dt.evaluate(run, ["p5:p95:3"], episodes=5)
    for row in card.targets:
        print(f"asked for {row.target:.0f}, {row.return_mean:.0f} came")
    return card


if __name__ == "__main__":
    main()
