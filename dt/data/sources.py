"""What does `--data SOURCE` name, and which reader reads it? The content decides."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dt.data.episodes import EpisodeDataset
from dt.data.npz import is_npz, read_npz


def load_dataset(
    source: str, env_id: str | None = None, env_kwargs: dict[str, Any] | None = None
) -> EpisodeDataset:
    """Read a path or the id of a local Minari data set.

    Args:
        env_id: an environment that replaces the data's own; its spaces must fit the data.
        env_kwargs: for `gymnasium.make`, such as max_episode_steps.

    Raises:
        ValueError: when nothing is there, or no reader knows the content.
    """
    path = Path(os.path.expanduser(source))
    if path.is_file():
        if is_npz(path):
            return read_npz(path, env_id, env_kwargs)
        raise ValueError(f"{path}: unknown content; give an .npz file or a Minari data set id")
    from dt.data.minari import is_minari_id, read_minari  # an import that other sources skip

    if is_minari_id(source):
        return read_minari(source, env_id, env_kwargs)
    raise ValueError(f"--data {source}: no such file, and not the form of a Minari id (name-v0)")
