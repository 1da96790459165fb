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

ENDS = ("terminations", "truncations")


def is_npz(path: Path) -> bool:
    """Whether the content, not the name, is a zip of arrays."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path}: a damaged zip file ({error})") from error


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
    except Exception as error:  # a damaged file can break NumPy's reader in many ways
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path}: not a readable npz of plain arrays ({reason})") from error
    for key in ("observations", "actions", "rewards"):
        if key not in arrays:
            raise ValueError(f"{path}: has no key {key!r}; it holds {', '.join(sorted(arrays))}")
        if arrays[key].ndim == 0 or arrays[key].dtype.kind not in "biuf":
            raise ValueError(
                f"{path}: {key} is {arrays[key].dtype} of shape {arrays[key].shape}; "
                f"it needs numbers, one row a step"
            )
    observations, actions = arrays["observations"], arrays["actions"]
    if actions.dtype == bool:
        actions = actions.astype(np.int64)
    if actions.ndim == 2 and actions.shape[1] == 1 and np.issubdtype(actions.dtype, np.integer):
        actions = actions[:, 0]
    kwargs = env_kwargs or {}
    if env_id is not None:
        observation_space, action_space = environment_spaces(env_id, kwargs)
    else:
        env_id = _text(arrays["env_id"]) if "env_id" in arrays else None
        observation_space, action_space = resolve_spaces(env_id, kwargs, observations, actions)
    reference = None
    if "ref_min" in arrays and "ref_max" in arrays:
        if arrays["ref_min"].size != 1 or arrays["ref_max"].size != 1:
            raise ValueError(f"{path}: ref_min and ref_max need one number each")
        reference = Reference("D4RL", arrays["ref_min"].item(), arrays["ref_max"].item())
    for key in ENDS:
        if key in arrays and arrays[key].shape != arrays["rewards"].shape:
            raise ValueError(
                f"{path}: {key} has shape {arrays[key].shape}, rewards {arrays['rewards'].shape}; "
                f"every field needs one row a step"
            )
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


def _text(array: np.ndarray) -> str:
    value = array.reshape(-1)[0]
    return value.decode() if isinstance(value, bytes) else str(value)


def _offsets(path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    if "episode_lengths" in arrays:
        lengths = arrays["episode_lengths"]
        if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 1).any():
            raise ValueError(f"{path}: episode_lengths needs one positive integer an episode")
        return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    ends = [arrays[key].astype(bool) for key in ENDS if key in arrays]
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
    for key in ENDS:
        flags[key] = arrays.get(key, np.zeros(len(arrays["rewards"]), bool)).astype(bool)
    last = offsets[1:] - 1
    if len(last) and last[-1] < len(flags["truncations"]):
        flags["truncations"] = flags["truncations"].copy()
        flags["truncations"][last] |= ~flags["terminations"][last]
    return flags["terminations"], flags["truncations"]
