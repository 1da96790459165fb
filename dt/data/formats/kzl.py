"""Read pickled lists of episodes without running what is in them.

The format of kzl/decision-transformer's gym data: a list of dicts of arrays, with the keys
observations, next_observations, actions, rewards, terminals, or the same in the singular. An
episode whose last step is no terminal was truncated; the last next_observation is kept as the
observation after the last action.

A pickle is a program. `dt.data.formats.plain_pickle` runs none of it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dt.data.episodes import Episode, EpisodeDataset
from dt.data.formats.flat import from_steps
from dt.data.formats.format import Format
from dt.data.formats.plain_pickle import RefusedPickle, load_plain
from dt.spaces.environments import EnvKwargs

KEYS = {
    "observations": ("observations", "observation"),
    "actions": ("actions", "action"),
    "rewards": ("rewards", "reward"),
    "terminals": ("terminals", "terminal", "dones", "done"),
    "next_observations": ("next_observations", "next_observation"),
}


def is_pickle(head: bytes) -> bool:
    """Tell whether these first bytes are those of a pickled list."""
    return head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"(l", b"]q")


def read_kzl(
    path: Path, env_id: str | None = None, env_kwargs: EnvKwargs | None = None
) -> EpisodeDataset:
    """Read the file whole.

    Raises:
        ValueError: naming the file, and the episode and key, or the name that was refused.
    """
    with path.open("rb") as file:
        try:
            paths = load_plain(file)
        except RefusedPickle as error:
            raise ValueError(f"{path}: {error}") from error
        except Exception as error:  # damaged bytes can break the unpickler in many ways
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ValueError(f"{path}: not a readable pickle ({reason}); fetch it anew") from error
    if not isinstance(paths, list) or not all(isinstance(entry, dict) for entry in paths):
        raise ValueError(f"{path}: holds a {type(paths).__name__}; it needs a list of dicts")
    episodes = [_episode(path, index, entry) for index, entry in enumerate(paths)]
    return from_steps(str(path), episodes, env_id, env_kwargs)


def _episode(path: Path, index: int, entry: dict[str, object]) -> Episode:
    arrays: dict[str, np.ndarray] = {}
    for key, spellings in KEYS.items():
        found = [word for word in spellings if word in entry]
        if found:
            arrays[key] = _numbers(path, index, key, entry[found[0]])
        elif key != "next_observations":
            raise ValueError(
                f"{path}: episode {index} has no key {key!r}; it holds "
                f"{', '.join(sorted(map(str, entry)))}"
            )
    observations, rewards = arrays["observations"], arrays["rewards"]
    if rewards.size == len(rewards):
        rewards = rewards.reshape(-1)
    terminations = arrays["terminals"].reshape(-1).astype(bool)
    following = arrays.get("next_observations")
    if following is not None and len(following) == len(observations) and len(following):
        final = following[-1:].astype(observations.dtype)
        if final.shape[1:] == observations.shape[1:]:
            observations = np.concatenate([observations, final])
    truncations = np.zeros(len(terminations), bool)
    return Episode(observations, arrays["actions"], rewards, terminations, truncations)


def _numbers(path: Path, index: int, key: str, values: object) -> np.ndarray:
    """What a pickle holds under a key, which may be anything."""
    if isinstance(values, np.ndarray) and values.ndim and values.dtype.kind in "biuf":
        return values
    held = getattr(values, "dtype", type(values).__name__)
    raise ValueError(
        f"{path}: episode {index} has {key} of {held}; it needs an array of numbers, one row a step"
    )


FORMAT = Format(
    name="kzl",
    file="a pickle of episodes",
    is_file=lambda path, head: is_pickle(head),
    read=read_kzl,
)
