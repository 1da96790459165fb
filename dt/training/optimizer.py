"""The optimiser: schedule, clipping, and which parameters decay."""

from __future__ import annotations

from typing import TypeAlias, TypeVar

import jax
import optax

from dt.config import OptimizerConfig
from dt.model.parameter_names import KERNEL

Transformation: TypeAlias = optax.GradientTransformation
Tree = TypeVar("Tree")


def make_optimizer(config: OptimizerConfig, num_steps: int) -> Transformation:
    """Make AdamW: clip by the global norm, adapt, decay, then scale by the schedule.

    The schedule stands last: before Adam it would cancel out, since Adam divides it away.
    """
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.scale_by_adam(b1=config.betas[0], b2=config.betas[1]),
        optax.add_decayed_weights(
            config.weight_decay, mask=decay_mask if config.decay == "matrices" else None
        ),
        optax.scale_by_learning_rate(make_schedule(config, num_steps)),
    )


def only_where(mask: Tree, optimizer: Transformation) -> Transformation:
    """Let an optimiser see and change the parameters alone where the mask is True.

    The others have no moments, and their gradients do not count in the norm that is clipped.
    """
    labels = jax.tree.map(lambda trained: "trained" if trained else "held", mask)
    return optax.partition({"trained": optimizer, "held": optax.set_to_zero()}, labels)


def make_schedule(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Make a linear warm-up to the peak, then flat or a cosine down to `final_fraction` of it."""
    peak = config.learning_rate
    warmup_steps = min(config.warmup_steps, num_steps)
    if config.warmup_fraction:
        warmup_steps = round(config.warmup_fraction * num_steps)
    if config.schedule == "constant":
        after: optax.Schedule = optax.constant_schedule(peak)
    else:
        decay_steps = max(num_steps - warmup_steps, 1)
        after = optax.cosine_decay_schedule(peak, decay_steps, config.final_fraction)
    # Starting at 1 / warmup_steps rather than 0, so that the first update already learns.
    warmup = optax.linear_schedule(peak / max(warmup_steps, 1), peak, max(warmup_steps - 1, 1))
    return optax.join_schedules([warmup, after], [warmup_steps])


def decay_mask(params: Tree) -> Tree:
    """Decay matrices of linear layers; never biases, norms, embeddings or learned tokens.

    Raises:
        ValueError: when no parameter is such a matrix, so that nothing would decay.
    """
    mask = jax.tree_util.tree_map_with_path(
        lambda path, _: any(getattr(key, "key", None) == KERNEL for key in path), params
    )
    if not any(jax.tree.leaves(mask)):
        raise ValueError(
            f"no parameter is named {KERNEL!r}, which weight decay is for; "
            f"dt.model.parameter_names names what the modules no longer have"
        )
    return mask
