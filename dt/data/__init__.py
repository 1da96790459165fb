"""Logged episodes, and the batches cut out of them. NumPy only."""

from dt.data.batches.windows import Batch, Steps, Windows, draw_windows, gather
from dt.data.episodes import Episode, EpisodeDataset
from dt.data.formats import add_format
from dt.data.formats.format import Format
from dt.data.formats.sources import load_dataset, open_source
from dt.data.reference import Reference
from dt.data.store.rows import TrainingData
from dt.data.streams import EpisodeStream
from dt.data.transforms import Transforms, returns_to_go

__all__ = [
    "Batch",
    "Episode",
    "EpisodeDataset",
    "EpisodeStream",
    "Format",
    "Reference",
    "Steps",
    "TrainingData",
    "Transforms",
    "Windows",
    "add_format",
    "draw_windows",
    "gather",
    "load_dataset",
    "open_source",
    "returns_to_go",
]
