"""Decision transformers in JAX: an episode is a token sequence, and what you write into it steers.

>>> run = dt.train("hopper.npz", preset="hopper")
>>> card = dt.evaluate(run, episodes=20)
>>> policy = run.policy()

`dt.load_policy(run_dir)` is all that another program needs. `import dt` alone imports no JAX: a
name is imported when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dt.acting.options import ActingOptions as ActingOptions
    from dt.api import compare as compare
    from dt.api import describe as describe
    from dt.api import evaluate as evaluate
    from dt.api import load_data as load_data
    from dt.api import train as train
    from dt.checkpoint.export import export_policy as export_policy
    from dt.checkpoint.hugging_face.folder import save_hf as save_hf
    from dt.checkpoint.load import load_policy as load_policy
    from dt.config import DataConfig as DataConfig
    from dt.config import EvaluationConfig as EvaluationConfig
    from dt.config import ModelConfig as ModelConfig
    from dt.config import OptimizerConfig as OptimizerConfig
    from dt.config import TrainConfig as TrainConfig
    from dt.config.presets import PRESETS as PRESETS
    from dt.data.episodes import Episode as Episode
    from dt.data.episodes import EpisodeDataset as EpisodeDataset
    from dt.data.formats import add_format as add_format
    from dt.data.formats.flat import from_arrays as from_arrays
    from dt.data.formats.format import Format as Format
    from dt.data.formats.frames import from_frame as from_frame
    from dt.data.summary import DatasetSummary as DatasetSummary
    from dt.evaluation.card import Card as Card
    from dt.evaluation.parts import Estimate as Estimate
    from dt.evaluation.scores import SCORES as SCORES
    from dt.evaluation.scores import Score as Score
    from dt.model.embed.encoders import ENCODERS as ENCODERS
    from dt.model.embed.encoders import EncoderInputs as EncoderInputs
    from dt.model.embed.encoders import EncoderKind as EncoderKind
    from dt.model.heads import HEADS as HEADS
    from dt.model.heads import HeadInputs as HeadInputs
    from dt.model.heads import HeadKind as HeadKind
    from dt.model.heads import Sampling as Sampling
    from dt.training.run import Run as Run

__version__ = "0.1.0"

# Where each public name is defined.
_HOMES = {
    "ActingOptions": "dt.acting.options",
    "Card": "dt.evaluation.card",
    "DataConfig": "dt.config",
    "DatasetSummary": "dt.data.summary",
    "ENCODERS": "dt.model.embed.encoders",
    "EncoderInputs": "dt.model.embed.encoders",
    "EncoderKind": "dt.model.embed.encoders",
    "Episode": "dt.data.episodes",
    "EpisodeDataset": "dt.data.episodes",
    "Estimate": "dt.evaluation.parts",
    "EvaluationConfig": "dt.config",
    "Format": "dt.data.formats.format",
    "HEADS": "dt.model.heads",
    "HeadInputs": "dt.model.heads",
    "HeadKind": "dt.model.heads",
    "ModelConfig": "dt.config",
    "OptimizerConfig": "dt.config",
    "PRESETS": "dt.config.presets",
    "Run": "dt.training.run",
    "SCORES": "dt.evaluation.scores",
    "Sampling": "dt.model.heads",
    "Score": "dt.evaluation.scores",
    "TrainConfig": "dt.config",
    "add_format": "dt.data.formats",
    "compare": "dt.api",
    "describe": "dt.api",
    "evaluate": "dt.api",
    "export_policy": "dt.checkpoint.export",
    "from_arrays": "dt.data.formats.flat",
    "from_frame": "dt.data.formats.frames",
    "load_data": "dt.api",
    "load_policy": "dt.checkpoint.load",
    "save_hf": "dt.checkpoint.hugging_face.folder",
    "train": "dt.api",
}
__all__ = [*_HOMES]  # noqa: PLE0604 (a list of strings)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'dt' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
