"""What can be chosen: frozen dataclasses with defaults, checked where they are made."""

from dt.config.run import (
    DataConfig,
    DistributedConfig,
    EvaluationConfig,
    MeshConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    cache_home,
    from_json,
    to_json,
)

__all__ = [
    "DataConfig",
    "DistributedConfig",
    "EvaluationConfig",
    "MeshConfig",
    "ModelConfig",
    "OptimizerConfig",
    "TrainConfig",
    "cache_home",
    "from_json",
    "to_json",
]
