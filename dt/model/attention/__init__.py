"""Attention: several ways to compute one function, and the choice among them.

All ways compute the same (tests compare them); they differ in speed and memory. A way is one file
with a record `Way`, and a word in `WAYS`. Another package puts its own in front:
`attention.WAYS = (MY_WAY, *attention.WAYS)`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dt.model.attention.blocks import BLOCKS, WITHIN_A_BLOCK
from dt.model.attention.cudnn import CUDNN
from dt.model.attention.mask import Before, Reach
from dt.model.attention.splash import SPLASH
from dt.model.attention.way import Drop, Inputs, Way, first_that_takes
from dt.model.attention.whole import WHOLE

# In the order of asking; the last takes anything.
WAYS: tuple[Way, ...] = (SPLASH, BLOCKS, CUDNN, WHOLE)


def attend(
    q: Float[Array, "B Q H d"],
    k: Float[Array, "B K H d"],
    v: Float[Array, "B K H d"],
    real: Bool[Array, "B T"] | None,
    reach: Reach,
    queries: Int[np.ndarray, " Q"],
    drop: Drop | None = None,
    before: Before | None = None,
) -> Float[Array, "B Q H d"]:
    """Compute what each query sees, weighed by softmax, by the first way that takes it.

    Args:
        real: timesteps that are not padding, which nobody real sees; what comes out for padding
            itself is finite and means nothing. None: there is none, or it stands last, where
            causality hides it.
        queries: positions of the queries among the keys; the same in every timestep, or few.
        drop: leaves out some of the weights.
        before: what all queries see, wherever they stand.
    """
    inputs = Inputs(q, k, v, real, reach, queries, drop, before)
    return first_that_takes(WAYS, inputs).attend(inputs)


def attend_within(
    q: Float[Array, "B P H d"], before: Before, drop: Drop | None = None
) -> Float[Array, "B P H d"]:
    """Compute what tokens before a sequence see of each other, in their order."""
    count = q.shape[1]
    inputs = Inputs(
        q, before.keys, before.values, before.real, Reach(count, 1), np.arange(count), drop
    )
    return first_that_takes(WITHIN_A_BLOCK, inputs).attend(inputs)
