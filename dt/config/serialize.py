"""Write a run's options as plain JSON values, and read them again."""

from __future__ import annotations

import dataclasses
from typing import Any

from dt.config.run import RunConfig, TrainConfig
from dt.files import structured


def to_json(config: RunConfig) -> dict[str, Any]:
    """Write the options as plain JSON values."""
    return dataclasses.asdict(config)


def from_json(values: dict[str, object]) -> TrainConfig:
    """Make the options of a whole run from what `to_json` wrote.

    What is younger than the values is at its default.

    Raises:
        ValueError: naming the option that is unknown, of another type, or out of its bounds.
    """
    return structured(TrainConfig, values)
