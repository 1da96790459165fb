"""Read pickled lists of episodes without running what is in them.

The format of kzl/decision-transformer's gym data: a list of dicts of arrays, with the keys
observations, next_observations, actions, rewards, terminals, or the same in the singular. An
episode whose last step is no terminal was truncated; the last next_observation is kept as the
observation after the last action.

A pickle is a program. Here it may make numbers, words, lists, dicts and NumPy arrays of numbers,
and nothing else: the first other name it asks for ends the reading before it is called.
"""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path

import numpy as np

from dt.data.episodes import Episode, EpisodeDataset
from dt.data.formats.flat import from_steps
from dt.data.formats.format import Format
from dt.spaces.environments import EnvKwargs

# What NumPy's arrays ask for, in NumPy 1's spelling of the module and in NumPy 2's.
ARRAY_MAKERS = {
    ("multiarray", "_reconstruct"),
    ("multiarray", "scalar"),
    ("numeric", "_frombuffer"),
}
ARRAY_TYPES = {"ndarray", "dtype"}
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
            paths = _ArraysOnly(file).load()
        except RefusedPickle as error:
            raise ValueError(f"{path}: {error}") from error
        except Exception as error:  # damaged bytes can break the unpickler in many ways
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ValueError(f"{path}: not a readable pickle ({reason}); fetch it anew") from error
    if not isinstance(paths, list) or not all(isinstance(entry, dict) for entry in paths):
        raise ValueError(f"{path}: holds a {type(paths).__name__}; it needs a list of dicts")
    episodes = [_episode(path, index, entry) for index, entry in enumerate(paths)]
    return from_steps(str(path), episodes, env_id, env_kwargs)


class RefusedPickle(Exception):
    """It asked for more than arrays."""


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that knows arrays of numbers."""

    def find_class(self, module: str, name: str) -> object:
        package, _, part = module.rpartition(".")
        if package in ("numpy.core", "numpy._core") and (part, name) in ARRAY_MAKERS:
            maker = getattr(importlib.import_module(f"numpy._core.{part}"), name)
            # A fresh function each time: a pickle may set attributes of what it is given.
            return lambda *args: maker(*args)
        if module == "numpy" and name in ARRAY_TYPES:
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        raise RefusedPickle(
            f"its pickle asks for {module}.{name}, which could run code; only arrays are read, "
            f"so convert the file where you trust it"
        )

    def persistent_load(self, pid: object) -> object:
        raise RefusedPickle("its pickle refers to an object outside it; write it whole")


def _latin1(text: str, encoding: str) -> bytes:
    """How old pickles spell bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise RefusedPickle(f"its pickle asks for the codec {encoding!r}; write it anew")
    return text.encode("latin1")


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
