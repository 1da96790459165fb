"""Runs that are finished: trained and played as far as that is not done yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dt.config import TrainConfig
from dt.evaluation.card import Card
from dt.evaluation.comparison import read_card
from dt.evaluation.score_run import CARD, Draw, OnStep, measure_for, score
from dt.training.hooks import Hooks, ignore
from dt.training.inputs import Demos
from dt.training.run import Run, fit, prepare
from dt.training.run_directory import CONFIG, open_run, recorded
from dt.training.warm_start import source_of


class Finished(NamedTuple):
    """A run's card."""

    card: Card
    run: Run | None
    """What the card was played with just now; None: nothing was left to do."""


def finish(
    preset: str,
    config: TrainConfig,
    *,
    demos: Demos | None = None,
    command: str = "",
    hooks: Hooks | None = None,
    on_reading: Callable[[int], None] = ignore,
    on_step: OnStep = ignore,
    draw: Draw | None = None,
) -> Finished:
    """Train the run of a directory and play its card, or find them done.

    A run that was interrupted goes on where it was stopped; one that is trained already is played
    anew only where its card asked for something else. One that was asked for fewer updates is
    trained longer, by the rule of `--resume --num-steps`, and that is said first.

    Args:
        config: names the run's directory.
        on_reading: as `on_steps` of `prepare`.
        on_step: as of `score`.
        draw: as of `measure_for`.

    Raises:
        ValueError: where the directory holds a run of another configuration, where nothing can be
            played, and as `prepare`, `fit` and `score`.
        KeyboardInterrupt: as `fit`; the next call goes on.
    """
    directory = Path(config.run_dir)
    hooks = hooks or Hooks()
    say = hooks.on_message
    config = dataclasses.replace(config, resume=(directory / CONFIG).exists())
    if config.resume:
        config = dataclasses.replace(config, init_from=source_of(preset, config))
        open_run(preset, config)
        card = _card_there(directory, config)
        if card is not None:
            return Finished(card, None)
        before = recorded(preset, config.run_dir).get("num_steps", config.num_steps)
        if before < config.num_steps:
            say(
                f"{directory}: is a run of {before} updates; it is trained on to "
                f"{config.num_steps}, and its card is played anew"
            )
    run = prepare(preset, config, demos=demos, on_message=say, on_steps=on_reading)
    if run.task is None:
        raise ValueError(
            f"{run.data.name}: no score card, {run.unplayable}; name what to play with "
            f"--evaluation.env"
        )
    measure = measure_for(run, command=command, on_message=say, draw=draw)
    state = fit(run, hooks=hooks, measure=measure)
    played = score(run, state, command=command, on_step=on_step)
    if played is None:
        raise ValueError("variants are compared by one process; leave --distributed out")
    return Finished(played, run)


def _card_there(directory: Path, config: TrainConfig) -> Card | None:
    """Read the run's card, if it is that of the last update and answers what would be asked."""
    if not (directory / CARD).exists():
        return None
    card, asked = read_card(directory / CARD), config.evaluation
    if not isinstance(card, Card):
        return None
    same = (card.checkpoint_step, card.episodes) == (config.num_steps, asked.episodes)
    same = same and len(card.targets) == (asked.num_targets if card.takes_return else 1)
    return card if same and asked.env in ("", card.env_id) else None
