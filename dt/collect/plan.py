"""The plan of a collection, and the folder in which it is settled, begun and gone on with.

While a collection runs, a hidden folder beside the data set holds `collection.json` (what is
being collected) and `episodes.log` (the finished episodes). The data set itself appears by one
rename, whole. Every episode depends on the seed and its number alone, so that a collection which
was interrupted, and given the same command again, ends as one that was not.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int
from minari.dataset.minari_dataset import parse_dataset_id
from minari.storage import get_dataset_path

from dt.collect.journal import Journal
from dt.data.formats.minari import is_minari_id
from dt.files import read_json, write_json
from dt.spaces.environments import EnvKwargs

PLAN, LOG = "collection.json", "episodes.log"


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a collection holds; it stays beside the data."""

    env_id: str
    env_kwargs: EnvKwargs
    policies: list[str]
    file_hashes: list[str]  # of what the policies were read from; empty for others
    episodes: list[int]  # of each policy, one policy after the other
    noise: float
    deterministic: bool
    num_envs: int
    seed: int
    past_end: str = "error"  # what a trained run did past its longest timestep

    @property
    def num_episodes(self) -> int:
        return sum(self.episodes)

    def describe(self) -> str:
        """Say in one line what is collected, for the data set's description."""
        parts = zip(self.episodes, self.policies, strict=True)
        mixture = ", ".join(f"{count} of {policy}" for count, policy in parts)
        actions = "deterministic" if self.deterministic else "sampled"
        past = "" if self.past_end == "error" else ", positions clamped"
        return f"{self.env_id}, episodes: {mixture}; {actions} actions, noise {self.noise}{past}"


def share_out(episodes: int, weights: Sequence[float]) -> list[int]:
    """Divide episodes in proportion to the weights; what rounding leaves goes to the largest rests.

    Raises:
        ValueError: for weights of which no share can be made.
    """
    if not weights or not all(np.isfinite(w) and w > 0 for w in weights):
        raise ValueError(f"--weights {' '.join(map(str, weights))}: give positive numbers")
    exact = episodes * np.asarray(weights, np.float64) / np.sum(weights)
    shares = np.floor(exact).astype(np.int64)
    largest = np.argsort(shares - exact, kind="stable")
    shares[largest[: episodes - shares.sum()]] += 1
    if (shares == 0).any():
        raise ValueError(
            f"--episodes {episodes} leaves policy {int(np.argmin(shares)) + 1} without one; "
            f"ask for more"
        )
    return shares.tolist()


def episode_seeds(seed: int, numbers: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Give each episode a seed of its own, no two of a collection alike."""
    first = np.random.SeedSequence(seed).generate_state(1)[0] >> 1
    return int(first) + numbers


@dataclass(frozen=True)
class Collection:
    """A collection under way: its plan, what it has so far, and where it ends."""

    dataset_id: str
    plan: Plan
    journal: Journal
    work: Path
    target: Path


@contextmanager
def open_collection(dataset_id: str, plan: Plan) -> Iterator[Collection]:
    """Begin a collection, or go on with the same one that was interrupted.

    Raises:
        ValueError: when the data set exists, or an unfinished one of another plan, or another
            process is at it.
        KeyboardInterrupt: one that was raised within, saying how many episodes are kept.
    """
    target = new_dataset_folder(dataset_id)
    work = _work_folder(target)
    work.mkdir(parents=True, exist_ok=True)
    with Journal(work / LOG) as journal:
        new_dataset_folder(dataset_id)  # again: who held the log until now may have published
        _settle_plan(work, plan, dataset_id, started=len(journal) > 0)
        try:
            yield Collection(dataset_id, plan, journal, work, target)
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt(
                f"stopped with {len(journal)} of {plan.num_episodes} episodes kept; the same "
                f"command goes on"
            ) from interrupt
    if target.exists():
        shutil.rmtree(work, ignore_errors=True)


def new_dataset_folder(dataset_id: str) -> Path:
    """Find where Minari looks for a data set (`MINARI_DATASETS_PATH`) that is not there yet.

    Raises:
        ValueError: when the id is malformed, or taken.
    """
    try:
        if not is_minari_id(dataset_id):
            raise ValueError
        parse_dataset_id(dataset_id)
    except ValueError:
        raise ValueError(
            f"--out {dataset_id}: not the form of a Minari id (folder/name-v0; the folder "
            f"of two letters or more)"
        ) from None
    target = get_dataset_path(dataset_id)
    if target.exists():
        work = _work_folder(target)
        if work.exists() and _read_plan(work) in (None, _read_plan(target)):
            shutil.rmtree(work, ignore_errors=True)  # its process was killed after publishing
        raise ValueError(f"--out {dataset_id}: {target} exists; give another name or version")
    return target


def _work_folder(target: Path) -> Path:
    return target.with_name(f".{target.name}.collecting")


def _settle_plan(work: Path, plan: Plan, dataset_id: str, started: bool) -> None:
    """Note what is collected here, or refuse a plan other than the one that was begun."""
    now = json.loads(json.dumps(dataclasses.asdict(plan)))
    before = _read_plan(work)
    if started and before is None:
        raise ValueError(f"{work}: {PLAN} is unreadable; remove the folder to start over")
    before = {"past_end": Plan.past_end, **(before or {})}  # which the first plans do not have
    for name, value in before.items() if started else ():
        if value != now.get(name):
            raise ValueError(
                f"--out {dataset_id} is half collected with {name.replace('_', ' ')} {value}, not "
                f"{now.get(name)}; give that again or another --out, or remove {work} to start over"
            )
    write_json(work / PLAN, now)


def _read_plan(folder: Path) -> dict[str, object] | None:
    try:
        values = read_json(folder / PLAN)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None
