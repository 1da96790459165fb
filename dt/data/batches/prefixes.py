"""What is shown before a window: where its episode ends, or a part of one that went about as well.

A prefix is itself a window of a few steps, drawn like others as a pure function of (seed, step,
row). A policy that is to act alone takes some along: `Exemplars`, from all over the data's returns.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from dt.data.batches.windows import Windows, hashed, row_bits, uniform
from dt.data.store.rows import TrainingData

Kind = Literal["goal", "prompt"]

NUM_EXEMPLARS = 32
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
    """Of each of the windows that `draw_windows` drew with the same seed, step and rows.

    A goal is the last step of the window's own episode. A prompt is of another episode, whose
    return is next to its own or nearly so: it shows what such an episode is like, and never the
    actions that are to be predicted.

    Args:
        ranks: as `rank_by_return` has it.
        num_steps: of a prompt.
    """
    episode = np.searchsorted(offsets, np.asarray(windows.start), side="right") - 1
    if kind == "goal":
        return _last_steps(offsets, episode)
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
    return _windows_at(offsets, episode, place, num_steps)


def rank_by_return(returns: Float[np.ndarray, " E"]) -> Int[np.ndarray, "2 E"]:
    """Episodes in the order of their returns, and the place of each episode in that order."""
    order = np.argsort(returns, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return np.stack([order, rank])


@dataclass(frozen=True, eq=False)
class Exemplars:
    """Prefixes of episodes from the lowest return to the highest, to choose from by return."""

    returns: Float[np.ndarray, " X"]
    rows: Float[np.ndarray, "X P W"]
    images: np.ndarray | None  # (X, P, bytes) uint8
    lengths: Int[np.ndarray, " X"]
    timesteps: Int[np.ndarray, " X"]

    @classmethod
    def spread(cls, data: TrainingData, kind: Kind, num_steps: int) -> Exemplars:
        """Of episodes from the lowest return to the highest."""
        order = rank_by_return(data.returns)[0]
        places = np.linspace(0, len(order) - 1, min(NUM_EXEMPLARS, len(order))).round()
        return cls.of(data, kind, num_steps, order[places.astype(np.int64)])

    @classmethod
    def of(
        cls, data: TrainingData, kind: Kind, num_steps: int, episodes: Int[np.ndarray, " X"]
    ) -> Exemplars:
        """Where these episodes end, or `num_steps` of the middle of each."""
        if kind == "goal":
            windows, num_steps = _last_steps(data.offsets, episodes), 1
        else:
            lengths = data.lengths[episodes]
            middle = np.maximum(lengths - num_steps, 0) // 2
            windows = _windows_at(data.offsets, episodes, middle, num_steps)
        rows = cut(data.rows, windows, num_steps)
        images = None if data.images is None else cut(data.images, windows, num_steps)
        return cls(data.returns[episodes], rows, images, windows.length, windows.timestep)

    @property
    def windows(self) -> Windows:
        """Their lengths and first timesteps; where they lay is forgotten."""
        return Windows(np.zeros_like(self.lengths), self.lengths, self.timesteps)

    def to_text(self) -> str:
        arrays = {k: v for k, v in vars(self).items() if v is not None}
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)
        return base64.b64encode(file.getvalue()).decode()

    @classmethod
    def from_text(cls, text: str) -> Exemplars:
        with np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False) as file:
            return cls(**{"images": None, **file})


def cut(values: np.ndarray, windows: Windows, num_steps: int) -> np.ndarray:
    """Rows of windows, (X, num_steps, ...); what is missing at the end repeats the last."""
    place = np.minimum(np.arange(num_steps), windows.length[:, None] - 1)
    return np.asarray(values[windows.start[:, None] + place])


def _last_steps(offsets: np.ndarray, episode: np.ndarray) -> Windows:
    return _windows_at(offsets, episode, offsets[episode + 1] - offsets[episode] - 1, 1)


def _windows_at(
    offsets: np.ndarray, episode: np.ndarray, place: np.ndarray, num_steps: int
) -> Windows:
    start = offsets[episode] + place
    length = np.minimum(offsets[episode + 1] - start, num_steps)
    return Windows(start, length.astype(np.int32), place.astype(np.int32))
