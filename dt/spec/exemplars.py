"""Exemplary episodes of the data that a policy takes along, to show before its own."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from dt.data.batches.prefixes import Kind, last_steps, rank_by_return, windows_at
from dt.data.batches.windows import Batch, Windows, as_batch
from dt.data.formats.npz import check_arrays
from dt.data.store.rows import TrainingData
from dt.spec.codec import Codec

NUM_EXEMPLARS = 32


@dataclass(frozen=True, eq=False)
class Exemplars:
    """Prefixes of episodes from the lowest return to the highest, to choose from by return."""

    returns: Float[np.ndarray, " X"]
    rows: Float[np.ndarray, "X P W"]
    images: UInt8[np.ndarray, "X P bytes"] | None
    lengths: Int[np.ndarray, " X"]
    timesteps: Int[np.ndarray, " X"]

    @classmethod
    def spread(cls, data: TrainingData, kind: Kind, num_steps: int) -> Exemplars:
        """Cut prefixes of episodes from the lowest return to the highest."""
        order = rank_by_return(data.returns)[0]
        places = np.linspace(0, len(order) - 1, min(NUM_EXEMPLARS, len(order))).round()
        return cls.of(data, kind, num_steps, order[places.astype(np.int64)])

    @classmethod
    def of(
        cls, data: TrainingData, kind: Kind, num_steps: int, episodes: Int[np.ndarray, " X"]
    ) -> Exemplars:
        """Cut where these episodes end, or `num_steps` of the middle of each."""
        if kind == "goal":
            windows, num_steps = last_steps(data.offsets, episodes), 1
        else:
            lengths = data.lengths[episodes]
            middle = np.maximum(lengths - num_steps, 0) // 2
            windows = windows_at(data.offsets, episodes, middle, num_steps)
        rows = _cut(data.rows, windows, num_steps)
        images = None if data.images is None else _cut(data.images, windows, num_steps)
        return cls(data.returns[episodes], rows, images, windows.length, windows.timestep)

    def encoded(self, codec: Codec, num_steps: int) -> Batch:
        """Bring them into the model's units, (X, num_steps, ...), padded like a batch."""
        # Where they lay is forgotten.
        windows = Windows(np.zeros_like(self.lengths), self.lengths, self.timesteps)
        return as_batch(codec.encode(self.rows, self.images), windows, num_steps)

    def to_text(self) -> str:
        """Write all arrays as compressed npz in base 64."""
        arrays = {k: v for k, v in vars(self).items() if v is not None}
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)
        return base64.b64encode(file.getvalue()).decode()

    @classmethod
    def from_text(cls, text: str) -> Exemplars:
        """Read what `to_text` wrote."""
        content = io.BytesIO(base64.b64decode(text))
        check_arrays("exemplars", content)
        content.seek(0)
        with np.load(content, allow_pickle=False) as file:
            return cls(**{"images": None, **file})


def _cut(values: np.ndarray, windows: Windows, num_steps: int) -> np.ndarray:
    """Rows of windows, (X, num_steps, ...); what is missing at the end repeats the last."""
    place = np.minimum(np.arange(num_steps), windows.length[:, None] - 1)
    return np.asarray(values[windows.start[:, None] + place])
