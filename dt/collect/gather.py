"""How does a data set come about? Behaviors play, episodes are kept as they end, then published.

While a collection runs, a hidden folder beside the data set holds `collection.json` (what is
being collected) and `episodes.log` (the finished episodes). The data set itself appears by one
rename, whole. Every episode depends on the seed and its number alone, so that a collection which
was interrupted, and given the same command again, ends as one that was not.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from jaxtyping import Float, Int
from minari.dataset.minari_dataset import parse_dataset_id
from minari.dataset.minari_storage import MinariStorage
from minari.storage import get_dataset_path

from dt.collect.behaviors.acting import Behavior
from dt.collect.journal import Journal
from dt.collect.packing import pack_file
from dt.data.episodes import Episode
from dt.data.formats.minari import is_minari_id, place_minari, write_minari
from dt.data.streams import EpisodeStream
from dt.files import write_json
from dt.play.turns import Step, play
from dt.spaces.records import leaves

PLAN, LOG = "collection.json", "episodes.log"
_ACTIONS = 1  # tells an episode's generator of actions from its environment's


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a collection holds; it stays beside the data."""

    env_id: str
    env_kwargs: dict[str, Any]
    policies: list[str]
    file_hashes: list[str]  # of what the policies were read from; empty for others
    episodes: list[int]  # of each policy, one policy after the other
    noise: float
    deterministic: bool
    num_envs: int
    seed: int

    @property
    def num_episodes(self) -> int:
        return sum(self.episodes)

    def describe(self) -> str:
        parts = zip(self.episodes, self.policies, strict=True)
        mixture = ", ".join(f"{count} of {policy}" for count, policy in parts)
        actions = "deterministic" if self.deterministic else "sampled"
        return f"{self.env_id}, episodes: {mixture}; {actions} actions, noise {self.noise}"


@dataclass(frozen=True)
class Outcome:
    """What a policy's episodes came to."""

    policy: str
    returns: Float[np.ndarray, " n"]
    lengths: Int[np.ndarray, " n"]


def share_out(episodes: int, weights: Sequence[float]) -> list[int]:
    """Whole episodes in proportion to the weights; what rounding leaves goes to the largest rests.

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
    """Where Minari looks for a data set (`MINARI_DATASETS_PATH`) that is not there yet.

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


def check_spaces(envs: VectorEnv) -> None:
    """Refuse environments whose steps are neither arrays nor records of them.

    Raises:
        ValueError: naming the space.
    """
    for name, space in (
        ("observations", envs.single_observation_space),
        ("actions", envs.single_action_space),
    ):
        try:
            leaves(space)
        except ValueError as error:
            raise ValueError(f"the environment's {name}: {error}") from None


def play_plan(
    collection: Collection,
    behaviors: Sequence[Behavior],
    envs: VectorEnv,
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> None:
    """Play what is left of the plan, one policy after the other.

    Args:
        on_step: called after every step with the episodes kept so far, those of an earlier
            process included, and the steps of these and of the running ones.
    """
    journal, seed = collection.journal, collection.plan.seed
    on_step(len(journal), journal.num_steps)
    end = 0
    for behavior, count in zip(behaviors, collection.plan.episodes, strict=True):
        first, end = end, end + count
        left = [number for number in range(first, end) if number not in journal]
        gather(behavior, envs, np.array(left, np.int64), seed, journal, on_step)


def gather(
    behavior: Behavior,
    envs: VectorEnv,
    numbers: Int[np.ndarray, " n"],
    seed: int,
    journal: Journal,
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> None:
    """Play the episodes of these numbers, and keep each when it ends."""
    seeds = episode_seeds(seed, numbers)
    rngs = [np.random.default_rng(0) for _ in range(envs.num_envs)]
    running: list[list[Step]] = [[] for _ in rngs]

    def start(where: np.ndarray, episodes: np.ndarray) -> None:
        for row in np.flatnonzero(where):
            rngs[row] = np.random.default_rng((int(seeds[episodes[row]]), _ACTIONS))
        behavior.start(where, rngs)

    def act(observations: np.ndarray) -> Any:
        return behavior.act(_screens(envs) if behavior.watches else observations, rngs)

    for step in play(envs, seeds, start, act):
        behavior.observe(step.rewards, step.actions)
        for row in np.flatnonzero(step.live):
            running[row].append(step)
        for row in np.flatnonzero(step.ended):
            journal.append(int(numbers[step.episodes[row]]), _episode(running[row], int(row)))
            running[row] = []
        on_step(len(journal), journal.num_steps + sum(map(len, running)))


def publish(collection: Collection, envs: VectorEnv) -> list[Outcome]:
    """Write the data set beside its place, an episode at a time, and rename it there.

    Returns:
        What the episodes of each policy came to.
    """
    plan, finished = collection.plan, collection.work / "finished"
    shutil.rmtree(finished, ignore_errors=True)  # a process was killed while writing
    numbers = np.arange(plan.num_episodes)
    returns, lengths = np.zeros(len(numbers)), np.zeros(len(numbers), np.int64)

    def episodes() -> Iterator[Episode]:
        for number in numbers.tolist():
            episode = collection.journal[number]
            returns[number], lengths[number] = episode.rewards.sum(), len(episode)
            yield episode

    stream = EpisodeStream(
        name=collection.dataset_id,
        observation_space=envs.single_observation_space,
        action_space=envs.single_action_space,
        episodes=episodes,
        env_id=plan.env_id,
        env_kwargs=plan.env_kwargs,
    )
    write_minari(finished, collection.dataset_id, stream)
    shape = envs.single_observation_space.shape
    if envs.single_observation_space.dtype == np.uint8 and shape is not None and len(shape) > 1:
        pack_file(finished / "data" / "main_data.hdf5")
    storage = MinariStorage.read(finished / "data")
    storage.update_metadata(
        {
            "algorithm_name": ", ".join(plan.policies),
            "code_permalink": "",
            "description": plan.describe(),
        }
    )
    who = np.repeat(plan.policies, plan.episodes).tolist()
    seeds = episode_seeds(plan.seed, numbers).tolist()
    storage.update_episode_metadata(
        {"policy": policy, "seed": seed} for policy, seed in zip(who, seeds, strict=True)
    )
    shutil.copy(collection.work / PLAN, finished / PLAN)
    place_minari(finished, collection.dataset_id)
    ends = np.cumsum(plan.episodes)[:-1]
    parts = zip(plan.policies, np.split(returns, ends), np.split(lengths, ends), strict=True)
    return [Outcome(*part) for part in parts]


def episode_seeds(seed: int, numbers: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """One seed an episode, no two of a collection alike."""
    first = np.random.SeedSequence(seed).generate_state(1)[0] >> 1
    return int(first) + numbers


def _screens(envs: VectorEnv) -> np.ndarray:
    rendered = envs.render()
    assert rendered is not None, "a behavior that watches needs render_mode rgb_array"
    return np.stack(rendered)


def _episode(steps: list[Step], row: int) -> Episode:
    """The row's episode, with the observation after its last action."""
    observations = [step.observations[row] for step in steps]
    return Episode(
        np.stack([*observations, steps[-1].next_observations[row]]),
        np.stack([step.actions[row] for step in steps]),
        np.array([step.rewards[row] for step in steps], np.float64),
        np.array([step.terminated[row] for step in steps], bool),
        np.array([step.truncated[row] for step in steps], bool),
    )


def _work_folder(target: Path) -> Path:
    return target.with_name(f".{target.name}.collecting")


def _settle_plan(work: Path, plan: Plan, dataset_id: str, started: bool) -> None:
    """Note what is collected here; what has been started goes on as it was."""
    now = json.loads(json.dumps(dataclasses.asdict(plan)))
    before = _read_plan(work)
    if started and before is None:
        raise ValueError(f"{work}: {PLAN} is unreadable; remove the folder to start over")
    for name, value in (before or {}).items() if started else ():
        if value != now.get(name):
            raise ValueError(
                f"--out {dataset_id} is half collected with {name.replace('_', ' ')} {value}, not "
                f"{now.get(name)}; give that again or another --out, or remove {work} to start over"
            )
    write_json(work / PLAN, now)


def _read_plan(folder: Path) -> dict[str, Any] | None:
    try:
        values = json.loads((folder / PLAN).read_text())
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None
