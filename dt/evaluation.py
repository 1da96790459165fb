"""Did the agent do what return it was asked for? Targets in, score card out."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, stdtrit

from dt.data.describe import DatasetSummary
from dt.data.episodes import Reference
from dt.policy import ReturnConditionedPolicy
from dt.rollout import Rollouts, make_envs, run_episodes
from dt.spec import PolicySpec, code_versions

NUM_RESAMPLES = 2000
MAX_ENVS = 512  # rows of one batch; more episodes than this queue for a row

Card = dict[str, Any]


def parse_targets(words: list[str], dataset: DatasetSummary) -> list[float]:
    """`["p5:p95:7"]`, `["p50"]` or `["50", "100"]` -> returns to ask for.

    `A:B:N` is N targets equally spaced from A to B; `pX` is the X-th percentile of the data's
    returns.

    Raises:
        ValueError: naming the word that is no target.
    """
    targets: list[float] = []
    for word in words:
        parts = word.split(":")
        if len(parts) == 3 and parts[2].isdecimal() and int(parts[2]) > 0:
            low, high = (_one_target(part, word, dataset) for part in parts[:2])
            targets += np.linspace(low, high, int(parts[2])).tolist()
        else:
            targets.append(_one_target(word, word, dataset))
    return targets


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
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> Card:
    """Play `episodes` episodes at each target and make the score card.

    Episode i has the same seed at every target: differences between targets are then the
    targets' doing, not the starts'.
    """
    count = len(targets) * episodes
    envs = make_envs(env_id, min(count, MAX_ENVS), env_kwargs)
    seeds = np.random.default_rng(seed).integers(0, 2**31 - 2_000_000, size=episodes)
    begin = time.perf_counter()
    try:
        rollouts = run_episodes(
            policy,
            envs,
            np.repeat(np.asarray(targets, np.float64), episodes),
            np.tile(seeds, len(targets)),
            on_step,
        )
    finally:
        envs.close()
    seconds = time.perf_counter() - begin
    return {
        "env_id": env_id,
        "checkpoint_step": checkpoint_step,
        "selection": selection,
        "baseline": "null" if policy.null else None,
        "layout": policy.spec.model.layout,
        "episodes": episodes,
        "seed": seed,
        "wall_seconds": round(seconds, 3),
        "env_steps_per_second": round(float(rollouts.lengths.sum()) / seconds, 1),
        **score(rollouts, targets, policy.spec, seed),
        "versions": code_versions(),
        "command": command,
        "commit": code_commit(),
    }


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


def score(rollouts: Rollouts, targets: list[float], spec: PolicySpec, seed: int) -> Card:
    """The card's numbers: each target's returns, and how returns follow targets."""
    returns = rollouts.returns.reshape(len(targets), -1)
    lengths = rollouts.lengths.reshape(len(targets), -1)
    rng = np.random.default_rng(seed)
    rows = []
    for target, row, length in zip(targets, returns, lengths, strict=True):
        rows.append(
            {
                "target": float(target),
                "return_mean": float(row.mean()),
                "return_std": float(row.std(ddof=1)) if len(row) > 1 else 0.0,
                "return_ci95": list(mean_interval(row, rng)),
                "normalized_score": _normalized(spec.reference, row.mean()),
                "length_mean": float(length.mean()),
                "episode_returns": row.tolist(),
            }
        )
    data = spec.dataset
    return {
        "reference": spec.reference.source if spec.reference else None,
        "targets": rows,
        "calibration": calibrate(np.asarray(targets, np.float64), returns, data, rng),
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


def calibrate(
    targets: Float[np.ndarray, " T"],
    returns: Float[np.ndarray, "T E"],
    data: DatasetSummary,
    rng: np.random.Generator,
) -> dict[str, Any] | None:
    """How the achieved return follows the target; None for a single target.

    slope: of the least-squares line through all episodes (1 is perfect, 0 ignores the target),
    with a bootstrap interval over seeds, which all targets share. mae_over_range: mean
    |achieved - target| over the span of the targets, as in RADT's return alignment. monotone:
    "k/n" neighbouring pairs in which more was asked and more came. coverage: share of the targets'
    span that the achieved means span.
    """
    span = float(targets.max() - targets.min())
    if span == 0.0:
        return None
    order = np.argsort(targets, kind="stable")
    targets, returns = targets[order], returns[order]
    means = returns.mean(axis=1)
    # The line through all episodes is the mean of the lines through the episodes of one seed.
    slopes = np.array([_slope(targets, episodes) for episodes in returns.T])
    error = float(np.abs(means - targets).mean() / span)
    steps = np.diff(targets) > 0
    rises = int((np.diff(means)[steps] > 0).sum())
    slope = _slope(targets, means)
    reached = np.clip(means, targets.min(), targets.max())
    numbers = {
        "slope": slope,
        "slope_ci95": list(mean_interval(slopes, rng)) if len(slopes) > 1 else None,
        "pearson": _correlation(targets, means),
        "spearman": _correlation(_ranks(targets), _ranks(means)),
        "mae_over_range": error,
        "monotone": f"{rises}/{steps.sum()}",
        "coverage": float(reached.max() - reached.min()) / span,
    }
    return {**numbers, "verdict": _verdict(targets, means, numbers, data)}


def mean_interval(
    sample: Float[np.ndarray, " n"], rng: np.random.Generator, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of a mean, widened for small samples.

    Percentile intervals are too narrow by sqrt((n-1)/n) and by normal instead of t quantiles;
    reading them at the level that makes up for both repairs it (Hesterberg 2015, 3.4).
    """
    n = len(sample)
    if n == 1 or np.ptp(sample) == 0:
        return float(sample.mean()), float(sample.mean())
    tail = ndtr(np.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 - level) / 2))
    means = sample[rng.integers(0, n, size=(NUM_RESAMPLES, n))].mean(axis=1)
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def code_commit() -> str | None:
    """The commit of the code that ran, "-dirty" if changed since; None outside a checkout."""
    root = Path(__file__).resolve().parent
    try:
        words = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _one_target(part: str, word: str, dataset: DatasetSummary) -> float:
    try:
        if part.startswith("p"):
            percent = float(part[1:])
            if not 0 <= percent <= 100:
                raise ValueError
            return dataset.percentile(percent)
        value = float(part)
        if not abs(value) < np.finfo(np.float32).max:
            raise ValueError
        return value
    except ValueError:
        raise ValueError(
            f"--targets {word!r} is no target; give returns (50 100), percentiles of the data's "
            f"returns (p5 p95) or a span (p5:p95:7)"
        ) from None


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    centred = x - x.mean()
    return float(centred @ y / (centred @ centred))


def _correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None  # a constant correlates with nothing
    return float(np.corrcoef(x, y)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, ties sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    return (last - (counts - 1) / 2)[inverse]


def _normalized(reference: Reference | None, value: float) -> float | None:
    return None if reference is None else float(reference.normalize(value))


def _verdict(
    targets: np.ndarray, means: np.ndarray, numbers: dict[str, Any], data: DatasetSummary
) -> str:
    """One line: what can this agent be asked for?"""
    middle = data.percentile(95) - data.percentile(5)
    if middle < 0.1 * max(abs(data.percentile(50)), 1e-9):
        return "no coverage in the data: its returns are nearly all alike"
    if not np.isfinite(means).all():
        return "returns are not finite"
    if numbers["slope_ci95"] is None:
        return "one episode a target: too few to say"
    if numbers["slope_ci95"][0] <= 0 or numbers["slope"] < 0.1:
        return "ignores the return"
    if numbers["mae_over_range"] <= 0.05:
        return "steerable"
    short = targets - means > 0.1 * (targets.max() - targets.min())
    if short[-1]:
        begin = len(short) - int(np.argmin(short[::-1])) if not short.all() else 0
        return f"saturates at {means[begin:].max():.4g}, asked for {targets[begin]:.4g} and more"
    return "steerable, roughly"
