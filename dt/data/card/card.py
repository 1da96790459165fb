"""Make a data set's card in one pass: what it holds, and what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Required, TypeAlias, TypedDict

import gymnasium
import numpy as np
from gymnasium import spaces

from dt.data.card.columns import ColumnFacts
from dt.data.card.pass_counts import EndingFacts, EpisodeTable, PassCounts, RewardFacts
from dt.data.card.steerability import Steerability, steerability
from dt.data.reference import Reference
from dt.data.store.rows import OUTLYING
from dt.data.streams import EpisodeSource
from dt.data.summary import histogram, whole_histogram
from dt.spaces.environments import known_step_limit

PERCENTILES = (0, 5, 25, 50, 75, 95, 100)
CLUSTERED = 0.2  # of all episodes: so many that are one step after a terminal are no episodes


class Histogram(TypedDict):
    """Counts of values between edges, one edge more than counts."""

    edges: list[float]
    counts: list[int]


class Spread(TypedDict):
    """How the values of all episodes are spread."""

    percentiles: dict[str, float]  # p0, p5, ...
    mean: float
    std: float
    best_tenth_mean: float
    histogram: Histogram


class ReferenceFacts(TypedDict):
    """The returns that score 0 and 100, and what the mean return scores."""

    source: str
    low: float
    high: float
    mean_score: float | None


class ObservationFacts(ColumnFacts):
    """What the card says of observations, those after an episode's last action apart."""

    not_finite_finals: int
    first_not_finite_final: int | None


class ActionFacts(ColumnFacts, total=False):
    """What the card says of actions: `DiscreteFacts` or `ContinuousFacts` besides the columns."""

    kind: Required[str]
    unknown: Required[int]
    shares: list[float]
    never_used: list[int]
    saturation: list[float] | None
    saturation_share: float | None
    outside: int


class Facts(TypedDict):
    """What a data set holds."""

    name: str
    env_id: str | None
    episodes: int
    steps: int
    observation_space: str
    action_space: str
    reference: ReferenceFacts | None
    returns: Spread | None  # None where no episode's return is finite
    lengths: Spread
    rewards: RewardFacts
    endings: EndingFacts
    observations: ObservationFacts
    actions: ActionFacts
    duplicate_episodes: int
    steerability: Steerability


class DataCard(Facts):
    """What a data set holds and what is wrong with it: JSON, as it is kept and shown."""

    problems: list[str]
    notes: list[str]


def data_card(source: EpisodeSource) -> tuple[DataCard, EpisodeTable]:
    """Describe a source's episodes; each is looked at once and not kept.

    The card is strict JSON. `problems` are what training refuses or would learn wrongly from,
    `notes` what is worth knowing; both are sentences. NaN, infinity and unknown actions are named
    there if the source was opened, as this is called, within `unchecked_values()`.

    Raises:
        ValueError: when there is no episode, or fields disagree with one another or the spaces.
    """
    counts = PassCounts(source)
    table = counts.table()
    finite = np.isfinite(table.returns)
    returns, lengths = table.returns[finite], table.lengths[finite]
    reference = source.reference
    card: Facts = {
        "name": source.name,
        "env_id": source.env_id,
        "episodes": len(table.lengths),
        "steps": int(table.lengths.sum()),
        "observation_space": _in_words(source.observation_space),
        "action_space": _in_words(source.action_space),
        "reference": _reference(reference, returns),
        "returns": _spread(returns, histogram) if len(returns) else None,
        "lengths": _spread(table.lengths, whole_histogram),
        "rewards": counts.reward_facts(),
        "endings": counts.ending_facts(known_step_limit(source.env_id, source.env_kwargs)),
        "observations": {
            **counts.observations.facts(counts.locate),
            "not_finite_finals": len(counts.bad_finals),
            "first_not_finite_final": counts.bad_finals[0] if counts.bad_finals else None,
        },
        "actions": {**counts.actions.facts(counts.locate), **counts.action_facts()},
        "duplicate_episodes": counts.duplicates(),
        "steerability": steerability(
            returns, lengths, reference.high - reference.low if reference else None
        ),
    }
    unplayable = [f"no score card can be made: {source.unplayable}"] if source.unplayable else []
    notes = [*unplayable, *source.notes, *_notes(card)]
    return {**card, "problems": _problems(card), "notes": notes}, table


def _in_words(space: gymnasium.Space) -> str:
    """Write the space on one line; bounds that differ from number to number are left out."""
    if isinstance(space, spaces.Dict):
        return f"Dict({', '.join(f'{key}: {_in_words(part)}' for key, part in space.items())})"
    if isinstance(space, spaces.Tuple):
        return f"Tuple({', '.join(map(_in_words, space))})"
    if isinstance(space, spaces.Box) and "[" in str(space):
        return f"Box(bounds of their own, {space.shape}, {space.dtype})"
    return " ".join(str(space).split())


Bins: TypeAlias = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # edges and counts


def _spread(values: np.ndarray, bins: Bins) -> Spread:
    edges, counts = bins(values)
    best = np.sort(values)[-math.ceil(len(values) / 10) :]
    return {
        "percentiles": {
            f"p{p}": float(value)
            for p, value in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)
        },
        "mean": float(values.mean()),
        "std": float(values.std()),
        "best_tenth_mean": float(best.mean()),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def _reference(reference: Reference | None, returns: np.ndarray) -> ReferenceFacts | None:
    if reference is None:
        return None
    score = float(reference.normalize(returns.mean())) if len(returns) else None
    return {
        "source": reference.source,
        "low": reference.low,
        "high": reference.high,
        "mean_score": score,
    }


def _problems(card: Facts) -> list[str]:
    found = []
    fields: dict[str, ColumnFacts] = {
        "observations": card["observations"],
        "actions": card["actions"],
        "rewards": card["rewards"],
    }
    for field, facts in fields.items():
        for column in facts["not_finite"][:3]:
            where = f"{field}[{column['column']}]" if column["column"] else field
            found.append(
                f"{where} is NaN or infinite in {column['rows']} of {card['steps']} steps, first "
                f"at episode {column['first_episode']}, step {column['first_step']}"
            )
        more = facts["not_finite_columns"] - 3
        if more > 0:
            found.append(f"{more} more columns of {field} hold NaN or infinity")
    finals = card["observations"]["not_finite_finals"]
    if finals:
        found.append(
            f"the observation after the last action is NaN or infinite in {finals} of "
            f"{card['episodes']} episodes, first {card['observations']['first_not_finite_final']}"
        )
    counts = {
        "action values outside the space": card["actions"].get("outside"),
        "actions that the space lacks": card["actions"].get("unknown"),
    }
    return found + [f"{what}: {count}" for what, count in counts.items() if count]


def _notes(card: Facts) -> list[str]:
    found = []
    endings = card["endings"]
    if endings["beyond_limit"]:
        found.append(
            f"episodes longer than the environment's {endings['limit']} steps: "
            f"{endings['beyond_limit']}; play with a larger limit"
        )
    clustered = endings["one_step_in_clusters"]
    if clustered >= CLUSTERED * card["episodes"] and card["lengths"]["percentiles"]["p100"] > 1:
        found.append(
            f"{clustered} of {card['episodes']} episodes are one step, right after another's "
            f"terminal: terminals stand in clusters, as where an agent stays at its goal; keep the "
            f"last of each: ends = terminals.astype(bool); "
            f"terminals = ends & ~np.append(ends[1:], False)"
        )
    if endings["inside_episodes"]:
        count = endings["inside_episodes"]
        found.append(f"steps marked as an end before their episode's last: {count}")
    fields: dict[str, ColumnFacts] = {
        "observations": card["observations"],
        "actions": card["actions"],
    }
    for field, facts in fields.items():
        constant, total = facts["constant_columns"], facts["columns"]
        if constant and total > 1:
            names = _some(facts["constant"])
            found.append(f"{constant} of {total} {field} never vary: {names}")
        elif constant:
            found.append(f"{field} never vary")
    if card["duplicate_episodes"]:
        found.append(f"exact copies of other episodes: {card['duplicate_episodes']}")
    if card["actions"].get("never_used"):
        found.append(f"actions never used: {_some(card['actions']['never_used'])}")
    returns = card["returns"]
    if returns is not None:
        value, (episode, step) = card["rewards"]["largest"], card["rewards"]["largest_at"]
        usual = max(abs(returns["percentiles"][p]) for p in ("p25", "p50", "p75"))
        if usual and abs(value) > OUTLYING * usual:
            found.append(
                f"the reward at episode {episode}, step {step} is {value:.4g}: beside it all "
                f"others are lost"
            )
    if card["rewards"]["zero_share"] == 1:
        found.append("every reward is 0: no return to ask for")
    elif card["rewards"]["only_at_the_end"]:
        found.append("the reward comes with the last step alone")
    elif card["rewards"]["constant_columns"]:
        found.append("every step has the same reward, so a return is a length")
    return found


def _some(names: Sequence[object]) -> str:
    return " ".join(map(str, names[:8])) + (" ..." if len(names) > 8 else "")
