"""What does a data set hold, and what is wrong with it? Its card, made in one pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from dt.data.card.pass_counts import EpisodeTable, PassCounts
from dt.data.card.steerability import steerability
from dt.data.reference import Reference
from dt.data.streams import EpisodeSource
from dt.data.summary import histogram, whole_histogram
from dt.spaces.environments import known_step_limit

PERCENTILES = (0, 5, 25, 50, 75, 95, 100)

Card = dict[str, Any]


def data_card(source: EpisodeSource) -> tuple[Card, EpisodeTable]:
    """Describe a source's episodes; each is looked at once and not kept.

    The card is strict JSON. `problems` are what training refuses or would learn wrongly from,
    `notes` what is worth knowing; both are sentences. NaN, infinity and unknown actions are told
    there if the source was opened, as this is called, within `unchecked_values()`.

    Raises:
        ValueError: when there is no episode, or fields disagree with one another or the spaces.
    """
    counts = PassCounts(source)
    table = counts.table()
    finite = np.isfinite(table.returns)
    returns, lengths = table.returns[finite], table.lengths[finite]
    reference = source.reference
    card = {
        "name": source.name,
        "env_id": source.env_id,
        "episodes": len(table.lengths),
        "steps": int(table.lengths.sum()),
        "observation_space": _in_words(source.observation_space),
        "action_space": _in_words(source.action_space),
        "reference": _reference(reference, returns),
        "returns": _spread(returns, histogram),
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
    return {**card, "problems": _problems(card), "notes": [*source.notes, *_notes(card)]}, table


def _in_words(space: gymnasium.Space) -> str:
    """The space on one line; bounds that differ from number to number are left out."""
    if isinstance(space, spaces.Dict):
        return f"Dict({', '.join(f'{key}: {_in_words(part)}' for key, part in space.items())})"
    if isinstance(space, spaces.Tuple):
        return f"Tuple({', '.join(map(_in_words, space))})"
    if isinstance(space, spaces.Box) and "[" in str(space):
        return f"Box(bounds of their own, {space.shape}, {space.dtype})"
    return " ".join(str(space).split())


def _spread(values: np.ndarray, bins: Callable[..., Any]) -> dict[str, Any] | None:
    """Percentiles, mean, and a histogram; None where no episode has a finite value."""
    if not len(values):
        return None
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


def _reference(reference: Reference | None, returns: np.ndarray) -> dict[str, Any] | None:
    if reference is None:
        return None
    score = float(reference.normalize(returns.mean())) if len(returns) else None
    return {
        "source": reference.source,
        "low": reference.low,
        "high": reference.high,
        "mean_score": score,
    }


def _problems(card: Card) -> list[str]:
    found = []
    for field in ("observations", "actions", "rewards"):
        facts = card[field]
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


def _notes(card: Card) -> list[str]:
    found = []
    endings = card["endings"]
    if endings["beyond_limit"]:
        found.append(
            f"episodes longer than the environment's {endings['limit']} steps: "
            f"{endings['beyond_limit']}; play with a larger limit"
        )
    if endings["inside_episodes"]:
        count = endings["inside_episodes"]
        found.append(f"steps marked as an end before their episode's last: {count}")
    for field in ("observations", "actions"):
        constant, total = card[field]["constant_columns"], card[field]["columns"]
        if constant and total > 1:
            names = _some(card[field]["constant"])
            found.append(f"{constant} of {total} {field} never vary: {names}")
        elif constant:
            found.append(f"{field} never vary")
    if card["duplicate_episodes"]:
        found.append(f"exact copies of other episodes: {card['duplicate_episodes']}")
    if card["actions"].get("never_used"):
        found.append(f"actions never used: {_some(card['actions']['never_used'])}")
    if card["rewards"]["zero_share"] == 1:
        found.append("every reward is 0: no return to ask for")
    elif card["rewards"]["only_at_the_end"]:
        found.append("the reward comes with the last step alone")
    elif card["rewards"]["constant_columns"]:
        found.append("every step has the same reward, so a return is a length")
    return found


def _some(names: list[Any]) -> str:
    return " ".join(map(str, names[:8])) + (" ..." if len(names) > 8 else "")
