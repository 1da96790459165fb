"""Did the agent do what return it was asked for? Targets in, score card out."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import numpy as np
from jaxtyping import Int

from dt.acting.on_device import FunctionalTask, run_on_device
from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.request_map import RequestMap
from dt.acting.rollout import Rollouts, run_episodes
from dt.data.reference import Reference, task_of
from dt.evaluation.intervals import mean_interval
from dt.evaluation.provenance import code_commit, code_versions
from dt.evaluation.verdict import ONE_TARGET, beyond, calibrate, expected
from dt.parallel.memory import free_bytes
from dt.play.make import Vectorization, make_groups
from dt.spaces.environments import has_own_rows, is_registered
from dt.spec.spec import PolicySpec

MAX_ENVS = 512  # rows of one batch where memory allows; more episodes than this queue for a row
PROCESSES_A_CORE = 4  # rows where each is a process

Card = dict[str, Any]


def episode_seeds(seed: int, count: int, fitting: bool = False) -> Int[np.ndarray, " E"]:
    """Seeds of `count` episodes; those to fit and choose by are never those of an evaluation."""
    low, high = (2**30, 2**31 - 2_000_000) if fitting else (0, 2**30)
    return np.random.default_rng(seed).integers(low, high, size=count)


def evaluate_policy(
    policy: ReturnConditionedPolicy,
    targets: list[float],
    episodes: int,
    *,
    env_id: str,
    env_kwargs: dict[str, Any],
    seed: int,
    checkpoint_step: int,
    selection: str = "last",
    command: str = "",
    fitting: bool = False,
    on_device: Callable[[str, dict[str, Any]], FunctionalTask] | None = None,
    step_timeout: float = 0.0,
    vectorization: Vectorization = "auto",
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> Card:
    """Play `episodes` episodes at each target and make the score card.

    A policy that chooses its own returns plays them once, and its target is what it chose at the
    start of its episodes.

    Episode i has the same seed at every target: differences between targets are then the
    targets' doing, not the starts'.

    Args:
        fitting: play the episodes by which request maps are fitted and checkpoints chosen, which
            no evaluation plays.
        on_device: the environment's functional form, to play on the device; None: on the host.
        step_timeout: seconds that a step of all environments may take; 0: as long as it likes.
        vectorization: as in `make_envs`.

    Raises:
        RolloutFault: when an environment breaks or hangs, with the episodes that had ended.
        ValueError: for an environment that the policy's request map was not measured in.
    """
    if policy.request_map is not None:
        policy.request_map.check_environment(env_id, env_kwargs)
    spec = dataclasses.replace(policy.spec, reference=reference_for(env_id, policy.spec))
    if policy.options.expert is not None:
        if on_device is not None:
            raise ValueError("the model's own returns (expert) are played on the host only")
        targets = [policy.spec.return_range[1]]  # ignored
    asked = np.repeat(np.asarray(targets, np.float64), episodes)
    seeds = np.tile(episode_seeds(seed, episodes, fitting), len(targets))
    num_envs = num_rows(policy, len(asked))
    if vectorization == "async":
        num_envs = min(num_envs, PROCESSES_A_CORE * (os.cpu_count() or 1))
    if on_device is not None:
        task = on_device(env_id, env_kwargs)
        begin = time.perf_counter()
        rollouts = run_on_device(policy, task, asked, seeds, num_envs, on_step)
    else:
        groups = make_groups(env_id, num_envs, env_kwargs, vectorization)
        begin = time.perf_counter()
        try:
            rollouts = run_episodes(policy, groups, asked, seeds, on_step, step_timeout)
        finally:
            for envs in groups:
                envs.close()
    seconds = time.perf_counter() - begin
    if policy.options.expert is not None:
        targets = [float(rollouts.targets.mean())]
    card = {
        "env_id": env_id,
        "env_kwargs": env_kwargs,
        "checkpoint_step": checkpoint_step,
        "selection": selection,
        **policy.options.to_card(policy.spec.model),
        "on_device": on_device is not None,
        "layout": policy.spec.model.layout,
        "prefix": policy.spec.model.prefix,
        "episodes": episodes,
        "seed": seed,
        "wall_seconds": round(seconds, 3),
        "env_steps_per_second": round(float(rollouts.lengths.sum()) / seconds, 1),
        **score(rollouts, targets, spec, seed, policy.request_map),
        "versions": code_versions(),
        "command": command,
        "commit": code_commit(),
    }
    if policy.options.expert is not None:
        expectation = expected(rollouts.targets, rollouts.returns)
        card |= {"expectation": expectation, "verdict": expectation["verdict"]}
    return card


def num_rows(policy: ReturnConditionedPolicy, episodes: int) -> int:
    """How many episodes play at once: all, as far as half of the device's free memory goes."""
    fitting = free_bytes(jax.devices()[:1]) // (2 * policy.program.bytes_per_row)
    return min(episodes, MAX_ENVS, max(1, fitting))


def time_limit(env_id: str | None, env_kwargs: dict[str, Any]) -> int | None:
    """The longest an episode can last, where the environment says."""
    if env_id is None:
        return None
    if "max_episode_steps" in env_kwargs:
        return int(env_kwargs["max_episode_steps"])
    try:
        return gymnasium.spec(env_id).max_episode_steps
    except (gymnasium.error.Error, ImportError):
        return None  # not installed here: only the data says


def cut_kwargs(env_id: str, env_kwargs: dict[str, Any], spec: PolicySpec) -> dict[str, Any]:
    """The environment's arguments, with a time limit where it has none: what the model knows.

    A policy may wander for ever where the logged agents arrived.
    """
    endless = time_limit(env_id, env_kwargs) in (None, -1)
    if not endless or not is_registered(env_id) or has_own_rows(env_id, env_kwargs):
        return env_kwargs
    return {**env_kwargs, "max_episode_steps": spec.max_timesteps}


def reference_for(env_id: str, spec: PolicySpec) -> Reference | None:
    """What scores are normalised by; another environment's say nothing of this one."""
    same = spec.env_id is None or task_of(env_id) == task_of(spec.env_id)
    return spec.reference if same else None


def score(
    rollouts: Rollouts,
    targets: list[float],
    spec: PolicySpec,
    seed: int,
    request_map: RequestMap | None = None,
) -> Card:
    """The card's numbers: each target's returns, and how returns follow the targets in the data."""
    asked = np.asarray(targets, np.float64)
    returns = rollouts.returns.reshape(len(targets), -1)
    lengths = rollouts.lengths.reshape(len(targets), -1)
    data, reference = spec.dataset, spec.reference
    rng = np.random.default_rng(seed)
    intervals = mean_interval(returns, rng)
    ood = (asked < data.percentile(0)) | (asked > data.percentile(100))
    rows: list[dict[str, Any]] = []
    for i, row in enumerate(returns):
        mean = float(row.mean())
        several = len(row) > 1
        rows.append(
            {
                "target": float(asked[i]),
                "ood": bool(ood[i]),
                "return_mean": mean,
                "return_std": float(row.std(ddof=1)) if several else 0.0,
                "return_ci95": intervals[i].tolist() if several else None,
                "normalized_score": None if reference is None else reference.normalize(mean),
                "length_mean": float(lengths[i].mean()),
                "episode_returns": row.tolist(),
            }
        )
    if request_map is not None:
        requests, reached = request_map.request_for(asked), request_map.reaches(asked)
        for i, entry in enumerate(rows):
            entry.update(request=float(requests[i]), reachable=bool(reached[i]))
    calibration = None
    if not ood.all():
        size = reference.high - reference.low if reference else None
        calibration = calibrate(asked[~ood], returns[~ood], data, rng, size)
    return {
        "reference": None if reference is None else dataclasses.asdict(reference),
        "targets": rows,
        "calibration": calibration,
        # Requests stay within the data, whatever is wanted.
        "beyond": None if request_map is not None else beyond(asked, returns, ood, rng),
        "verdict": _no_spread(asked) if calibration is None else calibration["verdict"],
        "dataset": {
            "id": data.name,
            "episodes": data.episodes,
            "steps": data.steps,
            "return_mean": data.return_mean,
            "return_percentiles": {
                f"p{p}": data.percentile(p) for p in (0, 5, 25, 50, 75, 90, 95, 100)
            },
            "return_histogram": {
                "edges": list(data.histogram_edges),
                "counts": list(data.histogram_counts),
            },
        },
    }


def _no_spread(asked: np.ndarray) -> str:
    if len(asked) == 1 or np.ptp(asked) > 0:
        return ONE_TARGET
    return f"all targets are {asked[0]:.5g}: name different ones to see whether returns follow"
