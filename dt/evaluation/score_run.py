"""The score card of a run that was just trained, and the error that chooses its checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.rollout import RolloutFault
from dt.acting.targets import parse_targets
from dt.checkpoint.state import TrainState
from dt.evaluation.card import Card, rising
from dt.evaluation.evaluate import evaluate_policy
from dt.files import write_json
from dt.parallel.mesh import one_device
from dt.parallel.processes import is_first, to_host
from dt.training.hooks import Evaluation, Measure
from dt.training.metrics import MetricWriter
from dt.training.run import Run, alone_in
from dt.training.run_directory import locked
from dt.training.trackers import NO_PICTURES, Tracker, trackers_of

CARD = "card.json"  # the headline card of a run, in its directory
CARDS = "cards"  # folder of a run for all others

OnStep = Callable[[int, int], None]
Draw = Callable[[Card, Path], None]  # a card into a PNG file


def score(
    run: Run,
    state: TrainState,
    *,
    command: str = "",
    on_step: OnStep = lambda done, steps: None,
) -> Card | None:
    """Play the run's targets, and write its card to card.json in its directory.

    Args:
        command: what the card says that it was made by.
        on_step: called with the episodes that ended and the steps made, after every step.

    Returns:
        The card; None in processes other than the first.

    Raises:
        ValueError: when nothing can be played, or the environment breaks.
    """
    if run.task is None:
        raise ValueError(f"no score card: {run.unplayable}")
    with alone_in(run.directory):
        try:
            card = _play(run, state, run.config.evaluation.episodes, False, command, on_step)
        except RolloutFault as fault:
            raise ValueError(f"{fault}; the run is trained: dt evaluate {run.directory}") from fault
        if card is not None:
            write_json(run.directory / CARD, card.to_json())
    return card


def log_card(
    run: Run, card: Card, picture: Path | None = None, trackers: tuple[Tracker, ...] = ()
) -> None:
    """Log a run's own card behind training's last line, to whatever training is logged to.

    What training's cards have as evaluation/NAME is here final/NAME. To be called in the first
    process alone, which has the card.

    Args:
        picture: PNG file of the card.
        trackers: who else is given it; closed afterwards.

    Raises:
        ValueError: when another process trains into the directory, and as `WeightsAndBiases`.
        OSError: when the disk is full.
    """
    again = dataclasses.replace(run.config, resume=True)  # the tracker's run that training had
    pictures = NO_PICTURES if picture is None else {"final/picture": picture}
    with locked(run.directory):
        known = trackers_of(run.directory, again, is_over=True)
        writer = MetricWriter(run.directory, trackers=(*trackers, *known))
        try:
            values = _logged(card, "final")
            writer.write(card.checkpoint_step, values, {"final/card": CARD}, pictures)
        finally:
            writer.close()


def measure_for(
    run: Run,
    *,
    command: str = "",
    on_message: Callable[[str], None] = print,
    draw: Draw | None = None,
) -> Measure | None:
    """Make what chooses the run's best checkpoint: the calibration error over few episodes, or
    minus the mean return of a model that takes none.

    The cards are kept as cards/training-UPDATE.json in the run's directory.

    They are episodes that no evaluation plays: the best of them would flatter its own card.

    Args:
        on_message: called when an environment breaks; it may work the next time, so training
            goes on.
        draw: draws a card into a PNG file, such as `dt.report.plots.plot_calibration`.

    Returns:
        None where nothing can be played.
    """
    if run.task is None:
        return None

    def measure(state: TrainState) -> Evaluation | None:
        episodes = episodes_to_choose_by(run.config.evaluation.episodes)
        try:
            card = _play(run, state, episodes, True, command, lambda done, steps: None)
        except RolloutFault as fault:
            on_message(f"no card at update {int(state.step)}: {fault}; training goes on")
            return None
        return None if card is None else _kept(card, run.directory, draw)

    return measure


def _kept(card: Card, run_dir: Path, draw: Draw | None) -> Evaluation:
    """Write a card of the course of training, and collect what is logged of it."""
    file = run_dir / CARDS / f"training-{card.checkpoint_step}.json"
    file.parent.mkdir(exist_ok=True)
    write_json(file, card.to_json())
    pictures = {}
    if draw is not None:
        picture = file.with_suffix(".png")
        draw(card, picture)
        pictures["evaluation/picture"] = picture
    top, calibration = rising(card)[-1], card.calibration
    error = None
    if not card.takes_return:
        error = -top.centre  # there is no target to miss: more is better
        summary = f"got {top.centre:.4g}"
    else:
        summary = f"asked {top.target:.4g}, got {top.centre:.4g}"
    if card.takes_return and calibration is not None:
        error, slope = calibration.mae_over_range.value, calibration.slope.value
        summary += f"; error {100 * error:.1f} % of the range, slope {slope:.3f}"
    name = file.relative_to(run_dir).as_posix()
    plural = "" if card.episodes == 1 else "s"
    summary += f" ({card.episodes} episode{plural} a target; {name})"
    values = _logged(card, "evaluation")
    return Evaluation(error, values, {"evaluation/card": name}, pictures, summary)


def _logged(card: Card, when: str) -> dict[str, float]:
    """Take from a card the numbers that a log holds, under names that begin with `when`."""
    top, calibration = rising(card)[-1], card.calibration
    values = {"return_at_top": top.centre}
    if card.takes_return:
        values["top_target"] = top.target
        if calibration is not None:
            values["error_over_range"] = calibration.mae_over_range.value
            values["slope"] = calibration.slope.value
    return {f"{when}/{name}": value for name, value in values.items()}


def episodes_to_choose_by(episodes: int) -> int:
    """Count a fifth of a card's episodes of each target, at least one."""
    return max(1, episodes // 5)


def _play(
    run: Run, state: TrainState, episodes: int, choosing: bool, command: str, on_step: OnStep
) -> Card | None:
    """Play a state at each target, so many episodes, and make its card in the first process."""
    assert run.task is not None
    params = to_host(state.params)  # all processes have a part; the first one plays
    if not is_first():
        return None
    return evaluate_policy(
        ReturnConditionedPolicy(one_device(params), run.spec),
        parse_targets([f"p5:p95:{run.config.evaluation.num_targets}"], run.spec.dataset),
        episodes,
        env_id=run.task.env_id,
        env_kwargs=run.task.env_kwargs,
        seed=run.config.seed,
        checkpoint_step=int(state.step),
        command=command,
        fitting=choosing,
        on_step=on_step,
    )
