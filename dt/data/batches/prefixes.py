"""What is shown before a window: where its episode ends, or a part of one that went about as well.

A prefix is itself a window of a few steps, drawn like others as a pure function of (seed, step,
row). What a policy takes along to act alone is `dt.spec.exemplars.Exemplars`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from dt.data.batches.windows import Windows, hashed, row_bits, uniform

Kind = Literal["goal", "prompt"]

NEAR = 50  # a prompt comes from among the nearest in return, this part of all episodes each way
SALT = np.uint64(0x5851F42D4C957F2D)  # other bits than the windows themselves are drawn from


def draw_prefixes(
    windows: Windows,
    offsets: Int[np.ndarray, " E1"],
    ranks: Int[np.ndarray, "2 E"],
    kind: Kind,
    num_steps: int,
    seed: int,
    step: int,
    rows: range,
) -> Windows:
    """Draw what stands before each window that `draw_windows` drew of the same seed, step, rows.

    A goal is the last step of the window's own episode. A prompt is of another episode, whose
    return is next to its own or nearly so: it shows what such an episode is like, and never the
    actions that are to be predicted.

    Args:
        ranks: as `rank_by_return` has it.
        num_steps: of a prompt.
    """
    episode = np.searchsorted(offsets, np.asarray(windows.start), side="right") - 1
    if kind == "goal":
        return last_steps(offsets, episode)
    first = hashed(row_bits(seed, step, rows) ^ SALT)
    order, rank = ranks
    reach = max(1, len(order) // NEAR)
    away = 1 + uniform(first, reach)
    away = np.where(hashed(first) & np.uint64(1), away, -away)
    near = rank[episode] + away
    near = np.where((near < 0) | (near >= len(order)), rank[episode] - away, near)
    episode = order[np.clip(near, 0, len(order) - 1)]
    free = np.maximum(offsets[episode + 1] - offsets[episode] - num_steps, 0) + 1
    place = (hashed(first ^ SALT) % free.astype(np.uint64)).astype(np.int64)
    return windows_at(offsets, episode, place, num_steps)


def rank_by_return(returns: Float[np.ndarray, " E"]) -> Int[np.ndarray, "2 E"]:
    """Sort episodes by their returns, and find the place of each episode in that order."""
    order = np.argsort(returns, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return np.stack([order, rank])


def last_steps(offsets: Int[np.ndarray, " E1"], episode: Int[np.ndarray, " n"]) -> Windows:
    """Make the windows that hold the last step of each of these episodes."""
    return windows_at(offsets, episode, offsets[episode + 1] - offsets[episode] - 1, 1)


def windows_at(
    offsets: Int[np.ndarray, " E1"],
    episode: Int[np.ndarray, " n"],
    place: Int[np.ndarray, " n"],
    num_steps: int,
) -> Windows:
    """Make windows of up to num_steps steps, from these timesteps of these episodes on."""
    start = offsets[episode] + place
    length = np.minimum(offsets[episode + 1] - start, num_steps)
    return Windows(start, length.astype(np.int32), place.astype(np.int32))
