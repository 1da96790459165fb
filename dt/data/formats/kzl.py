"""Read pickled lists of episodes without running what is in them.

The format of kzl/decision-transformer's gym data: a list of dicts of arrays, with the keys
observations, next_observations, actions, rewards, terminals, or others that
`dt.data.formats.dicts` knows. An episode whose last step is no terminal was truncated; the last
next_observation is kept as the observation after the last action.

A pickle is a program. `dt.data.formats.plain_pickle` runs none of it.
"""

from __future__ import annotations

from pathlib import Path

from dt.data.episodes import EpisodeDataset
from dt.data.formats.dicts import from_dicts
from dt.data.formats.format import Format
from dt.data.formats.plain_pickle import RefusedPickle, load_plain
from dt.spaces.environments import EnvKwargs


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
    return from_dicts(str(path), paths, env_id, env_kwargs)


FORMAT = Format(
    name="kzl",
    file="a pickle of episodes",
    is_file=lambda path, head: is_pickle(head),
    read=read_kzl,
)
