"""A trained run as a behavior, which acts as in an evaluation and is asked for one return."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np

from dt.acting.options import ActingOptions, PastEnd
from dt.acting.rollout import check_spaces
from dt.acting.targets import parse_targets
from dt.checkpoint.load import find_checkpoint, load_policy
from dt.checkpoint.manifest import MANIFEST
from dt.collect.behaviors.acting import Behavior, Generators
from dt.files import sha256_of
from dt.spaces.records import to_records


def steered_behavior(
    run_dir: Path,
    target: str,
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    deterministic: bool,
    past_end: PastEnd = "error",
) -> Behavior:
    """Load the run's last checkpoint, asked for `target`: a return, or its data's percentile (p90).

    Its rows are evaluated as one batch: an episode is the same in any row, and in a batch of
    another size the same up to rounding.

    Raises:
        ValueError: when there is no sound checkpoint, or the spaces are not the run's.
    """
    folder = find_checkpoint(run_dir)
    options = ActingOptions(deterministic=deterministic, past_end=past_end)
    policy = load_policy(run_dir, int(folder.name), options=options)
    check_spaces(policy, observation_space, action_space)
    targets = parse_targets([target], policy.spec.dataset, f"--policy run:{run_dir}@")
    if len(targets) != 1:
        raise ValueError(
            f"--policy run:{run_dir}@{target} asks for {len(targets)} returns; give one target, "
            f"and a --policy of its own to each further one"
        )
    chosen = np.empty(0)

    def start(rows: np.ndarray, rngs: Generators) -> None:
        seeds = np.zeros(len(rows), np.int64)
        seeds[rows] = [rngs[row].integers(2**31) for row in np.flatnonzero(rows)]
        policy.reset(np.repeat(targets, len(rows)), seeds=seeds, where=rows)

    def act(observations: np.ndarray, rngs: Generators) -> np.ndarray:
        nonlocal chosen
        chosen = to_records(action_space, policy.act(observations))
        return chosen

    def observe(rewards: np.ndarray, actions: np.ndarray) -> None:
        # Its own actions it knows exactly; noise put others in their place.
        policy.observe(rewards, None if np.array_equal(actions, chosen) else actions)

    name = f"run:{run_dir.resolve().name}@{target}"
    return Behavior(name, act, start, observe, content=sha256_of(folder / MANIFEST))
