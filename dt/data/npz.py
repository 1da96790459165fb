"""How does a flat `.npz` file become episodes?

Keys: observations, actions, rewards (one row a step), and the episodes' ends as episode_lengths
or as terminations and/or truncations. Optional: env_id, and D4RL's ref_min and ref_max.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from dt.data.episodes import EpisodeDataset, Reference
from dt.data.spaces import environment_spaces, resolve_spaces


def is_npz(path: Path) -> bool:
    """Whether the content, not the name, is a zip of arrays."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith(".npy") for name in archive.namelist())


def read_npz(
    path: Path, env_id: str | None = None, env_kwargs: dict[str, Any] | None = None
) -> EpisodeDataset:
    """Read the file whole; `env_id` overrides the file's own.

    Raises:
        ValueError: naming the file and the key that is missing or does not fit.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a readable npz of plain arrays ({error})") from error
    for key in ("observations", "actions", "rewards"):
        if key not in arrays:
            raise ValueError(f"{path}: has no key {key!r}; it holds {', '.join(sorted(arrays))}")
    observations, actions = arrays["observations"], arrays["actions"]
    if actions.ndim == 2 and actions.shape[1] == 1 and np.issubdtype(actions.dtype, np.integer):
        actions = actions[:, 0]
    kwargs = env_kwargs or {}
    if env_id is not None:
        observation_space, action_space = environment_spaces(env_id, kwargs)
    else:
        env_id = str(arrays["env_id"]) if "env_id" in arrays else None
        observation_space, action_space = resolve_spaces(env_id, kwargs, observations, actions)
    reference = None
    if "ref_min" in arrays and "ref_max" in arrays:
        reference = Reference("D4RL", float(arrays["ref_min"]), float(arrays["ref_max"]))
    offsets = _offsets(path, arrays)
    terminations, truncations = _ends(arrays, offsets)
    return EpisodeDataset(
        name=str(path),
        observations=observations,
        actions=actions,
        rewards=arrays["rewards"],
        terminations=terminations,
        truncations=truncations,
        offsets=offsets,
        observation_space=observation_space,
        action_space=action_space,
        env_id=env_id,
        env_kwargs=kwargs,
        reference=reference,
    )


def _offsets(path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    if "episode_lengths" in arrays:
        return np.concatenate([[0], np.cumsum(arrays["episode_lengths"], dtype=np.int64)])
    ends = [arrays[key].astype(bool) for key in ("terminations", "truncations") if key in arrays]
    if not ends:
        raise ValueError(
            f"{path}: does not say where episodes end; "
            f"add episode_lengths, or terminations and truncations"
        )
    last = np.flatnonzero(np.logical_or.reduce(ends)) + 1
    # Steps after the last marked end are an episode that the log cut off.
    return np.unique(np.concatenate([[0], last, [len(arrays["rewards"])]]))


def _ends(arrays: dict[str, np.ndarray], offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Terminations and truncations; an episode that ends without either was truncated."""
    flags = {}
    for key in ("terminations", "truncations"):
        flags[key] = arrays.get(key, np.zeros(len(arrays["rewards"]), bool)).astype(bool)
    last = offsets[1:] - 1
    if len(last) and last[-1] < len(flags["truncations"]):
        flags["truncations"] = flags["truncations"].copy()
        flags["truncations"][last] |= ~flags["terminations"][last]
    return flags["terminations"], flags["truncations"]
