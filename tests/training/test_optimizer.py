"""Does the schedule reach the weights, and does decay spare what it should?"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dt.config import OptimizerConfig
from dt.training.optimizer import decay_mask, make_optimizer, make_schedule


def test_the_schedule_warms_up_then_falls_to_its_final_fraction() -> None:
    config = OptimizerConfig(learning_rate=1.0, warmup_steps=4, final_fraction=0.1)
    schedule = make_schedule(config, 100)
    assert [float(schedule(i)) for i in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert float(schedule(4)) == pytest.approx(1.0)
    assert float(schedule(100)) == pytest.approx(0.1)
    flat = make_schedule(OptimizerConfig(learning_rate=1.0, schedule="constant"), 5000)
    assert float(flat(4999)) == pytest.approx(1.0)


def test_the_schedule_is_not_cancelled_by_adam() -> None:
    """Scaled before Adam, a tenth of the rate would give the same update."""

    def update_size(rate: float) -> float:
        config = OptimizerConfig(learning_rate=rate, warmup_steps=0, weight_decay=0.0)
        optimizer = make_optimizer(config, 10)
        params = {"kernel": jnp.ones(3)}
        updates, _ = optimizer.update({"kernel": jnp.ones(3)}, optimizer.init(params), params)
        return float(jnp.abs(updates["kernel"]).max())

    assert update_size(0.1) == pytest.approx(10 * update_size(0.01), rel=1e-5)


def test_only_kernels_decay() -> None:
    params = {"kernel": jnp.ones(2), "bias": jnp.ones(2), "embedding": jnp.ones(2)}
    assert decay_mask(params) == {"kernel": True, "bias": False, "embedding": False}
    optimizer = make_optimizer(OptimizerConfig(warmup_steps=0, weight_decay=0.5), 10)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    assert (updates["kernel"] < 0).all() and (updates["bias"] == 0).all()


def test_gradients_are_clipped_by_their_common_norm() -> None:
    optimizer = make_optimizer(OptimizerConfig(clip_norm=0.25, betas=(0.0, 0.0)), 10)
    params = {"bias": jnp.zeros(2), "kernel": jnp.zeros((1, 2))}
    gradients = {"bias": jnp.array([30.0, 40.0]), "kernel": jnp.zeros((1, 2))}
    _, state = optimizer.update(gradients, optimizer.init(params), params)
    moments = [leaf for leaf in jax.tree.leaves(state) if leaf.shape == (2,)]
    np.testing.assert_allclose(moments[0], [0.15, 0.2], rtol=1e-5)


def test_a_decay_that_no_parameter_has_is_refused() -> None:
    with pytest.raises(ValueError, match="no parameter is named 'kernel'"):
        decay_mask({"matrix": jnp.ones((2, 2)), "bias": jnp.ones(2)})
