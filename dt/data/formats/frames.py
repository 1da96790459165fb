"""Make episodes of a table with a row for each step, such as a pandas frame.

A table is whatever has `columns` and gives a column by its name; pandas is not imported.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from dt.data.episodes import EpisodeDataset
from dt.data.formats.flat import from_arrays
from dt.spaces.environments import EnvKwargs

EPISODES = ("episode", "episode_id", "episode_index")
REWARDS = ("reward", "rewards", "rew")
DONES = ("done", "dones")
TERMINATIONS = ("terminated", "termination", "terminations", "terminal", "terminals", *DONES)
TRUNCATIONS = ("truncated", "truncation", "truncations", "timeout", "timeouts")
OBSERVATION, ACTION = ("obs", "observation", "state"), ("action", "act")


@dataclass(frozen=True)
class ColumnNames:
    """Which columns of a table are what; what is not named is found by its usual name."""

    observations: tuple[str, ...] = ()
    """CSV, Parquet: the columns of an observation; empty: those that begin with obs or state."""
    actions: tuple[str, ...] = ()
    """CSV, Parquet: the columns of an action; empty: those that begin with act."""
    reward: str = ""
    """CSV, Parquet: the column of rewards; empty: reward, rewards or rew."""
    episode: str = ""
    """CSV, Parquet: the column whose value changes from one episode to the next; empty: episode."""
    terminated: str = ""
    """CSV, Parquet: the column of flags where an episode ends; empty: terminated or done."""
    truncated: str = ""
    """CSV, Parquet: the column of flags where a time limit ends it; empty: truncated."""


USUAL = ColumnNames()


@runtime_checkable
class Frame(Protocol):
    """What is needed of a table."""

    @property
    def columns(self) -> Iterable[Hashable]: ...
    def __getitem__(self, key: str, /) -> object: ...


def from_frame(
    frame: Frame,
    *,
    observations: Sequence[str] | None = None,
    actions: Sequence[str] | str | None = None,
    reward: str | None = None,
    episode: str | None = None,
    terminated: str | None = None,
    truncated: str | None = None,
    name: str = "frame",
    env_id: str | None = None,
    env_kwargs: EnvKwargs | None = None,
) -> EpisodeDataset:
    """Cut a table of steps into episodes.

    Columns that are not named are found by their names: `episode`, `reward`, `terminated` (or
    `done`), `truncated`, and every column that begins with `obs`, `observation` or `state`, or with
    `action`, in the order in which they stand. Without an episode column, episodes end where
    `terminated` or `truncated` says so. The columns of a file are named by flags:
    `--data.columns.observations x y`, and so on (of `dt data`, `--columns.observations x y`).

    Args:
        observations: the columns of an observation vector, or one column of categories or arrays.
        actions: one column of categories, or the columns of an action vector.
        reward: the column of rewards.
        episode: the column whose value changes from one episode to the next.
        terminated: the column of flags where an episode ends.
        truncated: the column of flags where a time limit ends it.
        name: what messages and cards call the data.
        env_id: the environment that the steps come from.
        env_kwargs: its arguments.

    Raises:
        ValueError: naming a column that is missing, or where nothing says where episodes end.
    """
    there = [str(column) for column in frame.columns]
    if there and len(np.asarray(frame[there[0]])) == 0:
        raise ValueError(f"{name}: has no rows; give one for each step")
    episode = episode or _first(there, EPISODES)
    given = [actions] if isinstance(actions, str) else actions
    seen = _chosen(name, there, observations, OBSERVATION, "observations")
    acted = _chosen(name, there, given, ACTION, "actions")
    reward = reward or _first(there, REWARDS) or "reward"
    arrays = {
        "observations": _stacked(name, frame, there, seen),
        "actions": _stacked(name, frame, there, acted),
        "rewards": _column(name, frame, there, reward),
    }
    flags = {}
    for key, named, usual in (
        ("terminations", terminated, TERMINATIONS),
        ("truncations", truncated, TRUNCATIONS),
    ):
        found = named or _first(there, usual)
        if found is not None:
            arrays[key] = _flags(name, found, _column(name, frame, there, found))
            flags[key] = found
    ends = f"{episode} as episodes" if episode else f"ends at {_named([*flags.values()])}"
    notes = [
        f"understood: {_named(seen)} as observations, {_named(acted)} as actions, {reward} as "
        f"rewards, {ends}"
    ]
    if flags.get("terminations") in DONES:
        if "truncations" in flags:
            arrays["terminations"] &= ~arrays["truncations"]
        else:
            notes.append(
                f"{flags['terminations']} does not say which ends a time limit made, and is taken "
                f"for terminated; to say it: frame['truncated'] = made_by_the_limit; "
                f"frame['terminated'] = frame[{flags['terminations']!r}] & ~frame['truncated']"
            )
    if episode is not None:
        numbers = _column(name, frame, there, episode, numeric=False)
        begins = np.flatnonzero(np.concatenate([[True], numbers[1:] != numbers[:-1]]))
        if len(begins) != len(np.unique(numbers)):
            raise ValueError(
                f"{name}: the rows of an episode do not stand together in column {episode!r}; sort "
                f"by it first, for example frame.sort_values({episode!r}, kind='stable')"
            )
        arrays["episode_lengths"] = np.diff(np.append(begins, len(numbers)))
    elif not {"terminations", "truncations"} & arrays.keys():
        raise ValueError(
            f"{name}: no column says where episodes end; name one with --data.columns.episode or "
            f"--data.columns.terminated (dt.from_frame: episode=, terminated=), or give one of "
            f"{', '.join((*EPISODES, *TERMINATIONS[:1], *TRUNCATIONS[:1]))}"
        )
    return from_arrays(name, arrays, env_id, env_kwargs, notes)


def _named(columns: Sequence[str]) -> str:
    """All of a few columns, or the first and the last."""
    if len(columns) <= 3:
        return ", ".join(columns)
    return f"{columns[0]} to {columns[-1]} ({len(columns)} columns)"


def _first(there: list[str], usual: Sequence[str]) -> str | None:
    return next((column for column in usual if column in there), None)


def _column(
    name: str, frame: Frame, there: Collection[str], column: str, numeric: bool = True
) -> np.ndarray:
    if column not in there:
        raise ValueError(f"{name}: has no column {column!r}; it holds {', '.join(there)}")
    values = np.asarray(frame[column])
    if values.dtype == object:  # arrays in a column's cells
        try:
            values = np.stack([np.asarray(value) for value in values])
        except ValueError as error:
            raise ValueError(f"{name}: column {column!r} holds values of unequal shapes") from error
    if numeric and values.dtype.kind not in "biuf":
        raise ValueError(f"{name}: column {column!r} holds {values.dtype}; give numbers")
    return values


def _flags(name: str, column: str, values: np.ndarray) -> np.ndarray:
    """Whether each row is one where an episode ends; a number of a step is no such flag."""
    if not np.isin(values, (0, 1)).all():
        raise ValueError(
            f"{name}: column {column!r} holds {values[~np.isin(values, (0, 1))][0]}; it says where "
            f"episodes end, so give 0 and 1"
        )
    return values.astype(bool)


def _chosen(
    name: str,
    there: list[str],
    columns: Sequence[str] | None,
    prefixes: tuple[str, ...],
    what: str,
) -> list[str]:
    """The columns that were named, or those that begin so."""
    chosen = list(columns or (c for c in there if c.lower().startswith(prefixes)))
    if not chosen:
        raise ValueError(
            f"{name}: no column begins with {' or '.join(prefixes)}; name them, such as "
            f"`--data.columns.{what} x y` (`dt data FILE --columns.{what} x y`), or in Python: "
            f"frame = pandas.read_csv(...); dt.train(dt.from_frame(frame, {what}=[...]))"
        )
    return chosen


def _stacked(name: str, frame: Frame, there: list[str], chosen: list[str]) -> np.ndarray:
    """(steps, columns) of several columns; one column is taken as it is."""
    known = dict.fromkeys(there)  # of a hundred thousand columns, a list would be searched for each
    values = [_column(name, frame, known, column) for column in chosen]
    return values[0] if len(values) == 1 else np.stack(values, axis=1)
