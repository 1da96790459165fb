"""Logged episodes, and the batches cut out of them. NumPy only."""

from dt.data.episodes import Episode, EpisodeDataset, Normalizer, Reference, returns_to_go
from dt.data.sources import load_dataset
from dt.data.windows import Batch, Steps, Windows, draw_windows, gather

__all__ = [
    "Batch",
    "Episode",
    "EpisodeDataset",
    "Normalizer",
    "Reference",
    "Steps",
    "Windows",
    "draw_windows",
    "gather",
    "load_dataset",
    "returns_to_go",
]
