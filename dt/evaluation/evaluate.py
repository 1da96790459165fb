"""Evaluations: a policy is played at target returns, and scored on a card."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from dt.acting.ask_table import AskTable
from dt.acting.on_device import FunctionalTask, run_on_device
from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.request_map import RequestMap
from dt.acting.rollout import Rollouts, run_episodes
from dt.data.reference import Reference, task_of
from dt.data.summary import DatasetSummary
from dt.evaluation.card import Card
from dt.evaluation.controls import control_of, outdone, unconditional
from dt.evaluation.intervals import mean_interval, within_seen
from dt.evaluation.parts import (
    Beyond,
    Calibration,
    DatasetFacts,
    Histogram,
    Interval,
    Measured,
    TargetScore,
)
from dt.evaluation.provenance import code_commit, code_versions
from dt.evaluation.scores import calibrate
from dt.evaluation.verdict import NO_RETURN, ONE_TARGET, beyond, expected
from dt.files import first_line
from dt.parallel.memory import free_bytes
from dt.play.faults import closing
from dt.play.make import Vectorization, make_groups
from dt.spaces.environments import EnvKwargs
from dt.spec.spec import PolicySpec

# The functional form of an environment, by its id and arguments.
FindTask: TypeAlias = Callable[[str, EnvKwargs], FunctionalTask]

MAX_ENVS = 512  # rows of one batch where memory allows; more episodes than this queue for a row
PROCESSES_A_CORE = 4  # rows where each is a process


def episode_seeds(seed: int, count: int, fitting: bool = False) -> Int[np.ndarray, " E"]:
    """Draw seeds of `count` episodes; those to fit and choose by are never an evaluation's."""
    low, high = (2**30, 2**31 - 2_000_000) if fitting else (0, 2**30)
    return np.random.default_rng(seed).integers(low, high, size=count)


def evaluate_policy(
    policy: ReturnConditionedPolicy,
    targets: list[float],
    episodes: int,
    *,
    env_id: str,
    env_kwargs: EnvKwargs,
    seed: int,
    checkpoint_step: int,
    selection: str = "last",
    command: str = "",
    fitting: bool = False,
    on_device: FindTask | None = None,
    step_timeout: float = 0.0,
    vectorization: Vectorization = "auto",
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> Card:
    """Play `episodes` episodes at each target and make the score card.

    Episode i has the same seed at every target: differences between targets are then the targets'
    doing, not the starts'. A policy that chooses its own returns plays them once, and its target is
    what it chose at the start of its episodes; one whose layout takes no return plays once too.

    Args:
        fitting: play the episodes by which request maps are fitted and checkpoints chosen, which
            no evaluation plays.
        on_device: finds the environment's functional form, to play it on the device; None: on the
            host.
        step_timeout: seconds that a step of all environments may take; 0: as long as it likes.
        vectorization: as in `make_envs`.

    Raises:
        RolloutFault: when an environment breaks or hangs, with the episodes that had ended.
        ValueError: for an environment that the policy's request map was not measured in.
    """
    if policy.request_map is not None:
        policy.request_map.check_environment(env_id, env_kwargs)
    if policy.options.expert is not None:
        if on_device is not None:
            raise ValueError("the model's own returns (expert) are played on the host only")
        targets = [policy.spec.return_range[1]]  # ignored
    targets = targets_for(policy.spec, targets)
    asked = np.repeat(np.asarray(targets, np.float64), episodes)
    seeds = np.tile(episode_seeds(seed, episodes, fitting), len(targets))
    venue = Venue(env_id, env_kwargs, on_device, vectorization, step_timeout)
    rollouts, seconds = play(policy, asked, seeds, venue, on_step)
    unasked = None if fitting else unconditional(policy)
    if unasked is not None:
        nothing = np.full(episodes, targets[0])  # ignored
        control, _ = play(unasked, nothing, seeds[:episodes], venue, lambda done, steps: None)
    origin = _Origin(checkpoint_step, selection, episodes, seed, command)
    card = _card_of(policy, targets, rollouts, seconds, venue, origin)
    return card if unasked is None else _with_control(card, control.returns, policy.spec.dataset)


def targets_for(spec: PolicySpec, targets: list[float]) -> list[float]:
    """Leave one target to a model whose layout takes no return: it plays alike whatever is asked.

    Its card's row needs a number all the same: the 95th percentile of the data's returns.
    """
    return targets if spec.conditional else [spec.dataset.percentile(95)]


class Venue(NamedTuple):
    """Where episodes are played, as `evaluate_policy` takes it."""

    env_id: str
    env_kwargs: EnvKwargs
    on_device: FindTask | None = None
    vectorization: Vectorization = "auto"
    step_timeout: float = 0.0


class _Origin(NamedTuple):
    """Where a card comes from."""

    checkpoint_step: int
    selection: str
    episodes: int
    seed: int
    command: str


def play(
    policy: ReturnConditionedPolicy,
    asked: Float[np.ndarray, " N"],
    seeds: Int[np.ndarray, " N"],
    venue: Venue,
    on_step: Callable[[int, int], None],
    guidance: Float[np.ndarray, "N 3"] | None = None,
) -> tuple[Rollouts, float]:
    """Play all episodes, and count the seconds they took once the environments were made.

    Args:
        guidance: each episode's own weights, on the host, of a policy that guides each row.

    Raises:
        RolloutFault: when an environment breaks or hangs, with the episodes that had ended.
    """
    num_envs = num_rows(policy, len(asked))
    if venue.vectorization == "async":
        num_envs = min(num_envs, PROCESSES_A_CORE * (os.cpu_count() or 1))
    if venue.on_device is not None:
        task = _task(venue.on_device, venue)
        begin = time.perf_counter()
        rollouts = run_on_device(policy, task, asked, seeds, num_envs, on_step)
        return rollouts, time.perf_counter() - begin
    groups = make_groups(venue.env_id, num_envs, venue.env_kwargs, venue.vectorization)
    begin = time.perf_counter()
    with closing(*groups):
        rollouts = run_episodes(policy, groups, asked, seeds, on_step, venue.step_timeout, guidance)
    return rollouts, time.perf_counter() - begin


def _task(find: FindTask, venue: Venue) -> FunctionalTask:
    """Find the environment's functional form, which libraries of others may make."""
    try:
        return find(venue.env_id, venue.env_kwargs)
    except (KeyboardInterrupt, ValueError):
        raise
    except BaseException as error:
        raise ValueError(
            f"cannot make environment {venue.env_id!r} for the device: raised "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error


def _card_of(
    policy: ReturnConditionedPolicy,
    targets: list[float],
    rollouts: Rollouts,
    seconds: float,
    venue: Venue,
    origin: _Origin,
) -> Card:
    model, data = policy.spec.model, policy.spec.dataset
    reference = reference_for(venue.env_id, policy.spec)
    expectation = None
    if policy.options.expert is not None:
        targets = [float(rollouts.targets.mean())]
        expectation = expected(rollouts.targets, rollouts.returns)
    results = score(rollouts, targets, data, reference, origin.seed, policy.request_map)
    if expectation is not None:
        results = results._replace(verdict=expectation.verdict)
    elif not policy.spec.conditional:
        results = results._replace(verdict=NO_RETURN)
    return Card(
        env_id=venue.env_id,
        env_kwargs=venue.env_kwargs,
        **origin._asdict(),
        acting=policy.options,
        return_expectile=policy.options.return_expectile(model),
        on_device=venue.on_device is not None,
        layout=model.layout,
        prefix=model.prefix,
        wall_seconds=round(seconds, 3),
        env_steps_per_second=round(float(rollouts.lengths.sum()) / seconds, 1),
        reference=reference,
        **results._asdict(),
        dataset=dataset_facts(data),
        versions=code_versions(),
        commit=code_commit(),
        expectation=expectation,
        measured=_measured(policy.request_map),
    )


def _with_control(card: Card, returns: Float[np.ndarray, " E"], data: DatasetSummary) -> Card:
    """Put what came unasked on a card, and into its verdict where asking brings no more."""
    rng = np.random.default_rng(card.seed)
    control = control_of(returns, np.array([data.percentile(0), data.percentile(100)]), rng)
    within = [row for row in card.targets if not row.ood]
    if card.calibration is None or not within:
        return dataclasses.replace(card, control=control)
    top = max(within, key=lambda row: row.target)
    warning = outdone(control, top.target, np.array(top.episode_returns), rng)
    verdict = "; ".join([card.verdict, warning] if warning else [card.verdict])
    return dataclasses.replace(card, control=control, verdict=verdict)


def _measured(table: RequestMap | AskTable | None) -> Measured | None:
    """What an ask table took; a card says it, for the online budget is part of its figures."""
    if not isinstance(table, AskTable):
        return None
    low, high = table.interval
    return Measured(int(table.measured["episodes"]), int(table.measured["steps"]), low, high)


def num_rows(policy: ReturnConditionedPolicy, episodes: int) -> int:
    """Count the episodes to play at once: all, as far as half of the free memory goes."""
    fitting = free_bytes(jax.devices()[:1]) // (2 * policy.program.bytes_per_row)
    return min(episodes, MAX_ENVS, max(1, fitting))


def reference_for(env_id: str, spec: PolicySpec) -> Reference | None:
    """Find what scores are normalised by; another environment's say nothing of this one."""
    same = spec.env_id is None or task_of(env_id) == task_of(spec.env_id)
    return spec.reference if same else None


class Results(NamedTuple):
    """What a card says of how the episodes went."""

    targets: tuple[TargetScore, ...]
    calibration: Calibration | None
    beyond: Beyond | None
    verdict: str


def score(
    rollouts: Rollouts,
    targets: list[float],
    data: DatasetSummary,
    reference: Reference | None,
    seed: int,
    request_map: RequestMap | AskTable | None = None,
) -> Results:
    """Score each target's returns, and how returns follow the targets within the data."""
    asked = np.asarray(targets, np.float64)
    returns = rollouts.returns.reshape(len(targets), -1)
    lengths = rollouts.lengths.reshape(len(targets), -1)
    rng = np.random.default_rng(seed)
    ood = (asked < data.percentile(0)) | (asked > data.percentile(100))
    seen = np.array([data.percentile(0), data.percentile(100)])
    rows = _rows(asked, ood, returns, lengths, reference, seen, rng)
    if request_map is not None:
        requests, reached = request_map.request_for(asked), request_map.reaches(asked)
        rows = tuple(
            dataclasses.replace(row, request=float(request), reachable=bool(reaches))
            for row, request, reaches in zip(rows, requests, reached, strict=True)
        )
    calibration = None
    if not ood.all():
        size = reference.high - reference.low if reference else None
        calibration = calibrate(asked[~ood], returns[~ood], data, rng, size)
    return Results(
        targets=rows,
        calibration=calibration,
        # Requests stay within the data, whatever is wanted.
        beyond=None if request_map is not None else beyond(asked, returns, ood, rng),
        verdict=_no_spread(asked) if calibration is None else calibration.verdict,
    )


def _rows(
    asked: Float[np.ndarray, " T"],
    ood: Bool[np.ndarray, " T"],
    returns: Float[np.ndarray, "T E"],
    lengths: Int[np.ndarray, "T E"],
    reference: Reference | None,
    seen: Float[np.ndarray, " 2"],
    rng: np.random.Generator,
) -> tuple[TargetScore, ...]:
    intervals = within_seen(mean_interval(returns, rng), returns, seen)
    several = returns.shape[1] > 1
    rows = []
    for i, row in enumerate(returns):
        mean = float(row.mean())
        interval: Interval = (float(intervals[i, 0]), float(intervals[i, 1]))
        rows.append(
            TargetScore(
                target=float(asked[i]),
                ood=bool(ood[i]),
                return_mean=mean,
                return_std=float(row.std(ddof=1)) if several else 0.0,
                return_ci95=interval if several else None,
                normalized_score=None if reference is None else float(reference.normalize(mean)),
                length_mean=float(lengths[i].mean()),
                episode_returns=tuple(row.tolist()),
            )
        )
    return tuple(rows)


def dataset_facts(data: DatasetSummary) -> DatasetFacts:
    """Sum up the data that was learned from, as a card does."""
    return DatasetFacts(
        id=data.name,
        episodes=data.episodes,
        steps=data.steps,
        return_mean=data.return_mean,
        return_percentiles={f"p{p}": data.percentile(p) for p in (0, 5, 25, 50, 75, 90, 95, 100)},
        return_histogram=Histogram(data.histogram_edges, data.histogram_counts),
    )


def _no_spread(asked: np.ndarray) -> str:
    if len(asked) == 1 or np.ptp(asked) > 0:
        return ONE_TARGET
    return f"all targets are {asked[0]:.5g}: name different ones to see whether returns follow"
