"""Make episodes of lists of dicts: a dict an episode, with a row a step, or a dict a step.

Keys have our names or those of `dt.data.formats.names`. An episode whose last step is no terminal
was cut off (truncated). Dicts of single steps are cut where their done, terminated or truncated
says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dt.data.episodes import Episode, EpisodeDataset
from dt.data.formats.flat import from_arrays, from_steps
from dt.data.formats.names import SPELLINGS
from dt.spaces.environments import EnvKwargs

NEEDED = ("observations", "actions", "rewards")


def from_dicts(
    name: str,
    entries: Sequence[Mapping[str, object]],
    env_id: str | None = None,
    env_kwargs: EnvKwargs | None = None,
) -> EpisodeDataset:
    """Read the dicts.

    Raises:
        ValueError: naming the entry and the key that is missing or does not fit.
    """
    keys = {} if not entries else {ours: _under(entries[0], ours) for ours in SPELLINGS}
    scalars = ("rewards", "terminations", "truncations", "dones")
    first = [entries[0][key] for ours in scalars if (key := keys.get(ours)) is not None]
    if first and all(isinstance(value, int | float | bool | np.generic) for value in first):
        return _of_steps(name, entries, env_id, env_kwargs)
    notes: list[str] = []
    for index, entry in enumerate(entries):
        for ours, key in keys.items():
            if key is not None and _under(entry, ours) is None:
                raise ValueError(
                    f"{name}: episode {index} has no key {key!r}; it holds "
                    f"{', '.join(sorted(map(str, entry)))}"
                )
    episodes = [_episode(name, index, entry, notes) for index, entry in enumerate(entries)]
    return from_steps(name, episodes, env_id, env_kwargs, list(dict.fromkeys(notes)))


def _of_steps(
    name: str,
    entries: Sequence[Mapping[str, object]],
    env_id: str | None,
    env_kwargs: EnvKwargs | None,
) -> EpisodeDataset:
    arrays: dict[str, np.ndarray] = {}
    for ours in SPELLINGS:
        key = _under(entries[0], ours)
        if key is None:
            continue
        values = []
        for index, entry in enumerate(entries):
            if key not in entry:
                raise ValueError(f"{name}: step {index} has no key {key!r}, step 0 has it")
            values.append(entry[key])
        try:
            arrays[key] = np.asarray(values)
        except ValueError:
            raise ValueError(f"{name}: {key} holds steps of unequal shapes") from None
        if arrays[key].dtype.kind not in "biuf":
            raise ValueError(f"{name}: {key} holds {arrays[key].dtype}; give numbers")
    note = f"understood: a dict a step, {len(entries)} of them"
    return from_arrays(name, arrays, env_id, env_kwargs, [note])


def _under(entry: Mapping[str, object], ours: str) -> str | None:
    return next((key for key in (ours, *SPELLINGS[ours]) if key in entry), None)


def _episode(name: str, index: int, entry: Mapping[str, object], notes: list[str]) -> Episode:
    arrays: dict[str, np.ndarray] = {}
    for ours in SPELLINGS:
        key = _under(entry, ours)
        if key is not None:
            arrays[ours] = _numbers(name, index, key, entry[key])
        elif ours in NEEDED:
            raise ValueError(
                f"{name}: episode {index} has no key {ours!r}; it holds "
                f"{', '.join(sorted(map(str, entry)))}"
            )
    observations, rewards = arrays["observations"], arrays["rewards"]
    if rewards.size == len(rewards):
        rewards = rewards.reshape(-1)
    none = np.zeros(len(rewards), bool)
    truncations = arrays.get("truncations", none).reshape(-1).astype(bool)
    ends = arrays.get("terminations")
    if ends is None and "dones" in arrays:
        ends = arrays["dones"].reshape(-1).astype(bool)
        if len(ends) == len(truncations):
            ends = ends & ~truncations
    elif ends is None and "truncations" not in arrays:
        notes.append("no terminals: the last step of each episode is taken for a time limit's")
    following = arrays.get("next_observations")
    if following is not None and len(following) == len(observations) and len(following):
        final = following[-1:].astype(observations.dtype)
        if final.shape[1:] == observations.shape[1:]:
            observations = np.concatenate([observations, final])
    terminations = none if ends is None else ends.reshape(-1).astype(bool)
    return Episode(observations, arrays["actions"], rewards, terminations, truncations)


def _numbers(name: str, index: int, key: str, values: object) -> np.ndarray:
    """What stands under a key, which may be anything."""
    if isinstance(values, Sequence) and not isinstance(values, str | bytes):
        try:
            values = np.asarray(values)
        except ValueError:
            raise ValueError(f"{name}: episode {index} has {key} of unequal shapes") from None
    if isinstance(values, np.ndarray) and values.ndim and values.dtype.kind in "biuf":
        return values
    held = getattr(values, "dtype", type(values).__name__)
    raise ValueError(
        f"{name}: episode {index} has {key} of {held}; it needs an array of numbers, one row a step"
    )
