"""Score cards of planted returns."""

from __future__ import annotations

import dataclasses
import io
from typing import Any, TypeVar

import numpy as np
from gymnasium import spaces
from rich.console import Console

from dt.acting.options import ActingOptions
from dt.acting.request_map import RequestMap
from dt.acting.rollout import Rollouts
from dt.config import ModelConfig
from dt.data import EpisodeDataset, Reference, TrainingData
from dt.evaluation.card import AggregateCard, AnyCard, Card
from dt.evaluation.evaluate import dataset_facts, score
from dt.report.card_table import print_card
from dt.spec.spec import PolicySpec

CardT = TypeVar("CardT", Card, AggregateCard)


def make_card(
    gain: float = 1.0,
    targets: tuple[float, ...] = (2.0, 5.0, 8.0),
    offset: float = 0.0,
    episodes: int = 4,
    request_map: RequestMap | None = None,
    **changes: Any,
) -> Card:
    """The card of a few episodes a target that return `gain` times what was asked, and `offset`.

    Args:
        changes: of the card's other fields, and of its acting options.
    """
    dataset = EpisodeDataset(
        name="tiny",
        observations=np.zeros((55, 2), np.float32),
        actions=np.zeros((55, 1), np.float32),
        rewards=np.ones(55, np.float32),
        terminations=np.zeros(55, bool),
        truncations=np.zeros(55, bool),
        offsets=np.cumsum([0, *range(1, 11)]),  # returns 1 to 10
        observation_space=spaces.Box(-np.inf, np.inf, (2,), np.float32),
        action_space=spaces.Box(-1.0, 1.0, (1,), np.float32),
        reference=Reference("planted scores", 0.0, 10.0),
    )
    asked = np.repeat(targets, episodes)
    luck = np.array([-0.5, -0.25, 0.25, 0.5])[:episodes]
    returns = offset + gain * asked + np.tile(luck, len(targets))
    rollouts = Rollouts(asked, returns, np.full(len(asked), 12))
    spec = PolicySpec.of(TrainingData.of(dataset), ModelConfig())
    results = score(rollouts, list(targets), spec.dataset, spec.reference, 0, request_map)
    acting = {
        field.name: changes.pop(field.name)
        for field in dataclasses.fields(ActingOptions)
        if field.name in changes
    }
    facts = {
        "env_id": "Planted-v0",
        "env_kwargs": {},
        "checkpoint_step": 1234,
        "selection": "last",
        "acting": ActingOptions(
            **{
                "calibrated": request_map is not None,
                "guidance": 1.0,
                **acting,
            }  # as a policy has it
        ),
        "on_device": False,
        "layout": spec.model.layout,
        "prefix": spec.model.prefix,
        "episodes": episodes,
        "seed": 0,
        "wall_seconds": 1.5,
        "env_steps_per_second": 96.0,
        "reference": spec.reference,
        **results._asdict(),
        "dataset": dataset_facts(spec.dataset),
        "versions": {"python": "3.11", "numpy": "2"},
        "command": "evaluate.py planted",
        "commit": "0123456789ab",
    }
    return Card(**(facts | changes))


def shown(card: AnyCard) -> str:
    text = io.StringIO()
    print_card(card, Console(file=text, width=160))
    return text.getvalue()


def make_runs(*offsets: float, **changes: object) -> tuple[list[Card], list[str]]:
    cards = [
        make_card(offset=offset, seed=seed, **changes)  # type: ignore[arg-type]
        for seed, offset in enumerate(offsets)
    ]
    return cards, [f"run{seed}" for seed in range(len(offsets))]


def with_row(card: CardT, place: int, **changes: Any) -> CardT:
    """The card with other values in the row of one target."""
    rows = list(card.targets)
    rows[place] = dataclasses.replace(rows[place], **changes)
    return dataclasses.replace(card, targets=tuple(rows))
