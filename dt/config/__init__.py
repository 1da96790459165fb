"""What can be chosen: frozen dataclasses with defaults, checked where they are made."""

from dt.config.data import DataConfig, cache_home
from dt.config.evaluation import EvaluationConfig
from dt.config.model import ModelConfig, RecipeName, SizeName
from dt.config.optimizer import OptimizerConfig
from dt.config.run import DistributedConfig, LogConfig, MeshConfig, RunConfig, TrainConfig
from dt.config.serialize import from_json, to_json

__all__ = [
    "DataConfig",
    "DistributedConfig",
    "EvaluationConfig",
    "LogConfig",
    "MeshConfig",
    "ModelConfig",
    "OptimizerConfig",
    "RecipeName",
    "RunConfig",
    "SizeName",
    "TrainConfig",
    "cache_home",
    "from_json",
    "to_json",
]
