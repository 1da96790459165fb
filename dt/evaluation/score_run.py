"""The score card of a run that was just trained, and the error that chooses its checkpoints."""

from __future__ import annotations

from collections.abc import Callable

from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.rollout import RolloutFault
from dt.acting.targets import parse_targets
from dt.checkpoint.state import TrainState
from dt.evaluation.card import Card
from dt.evaluation.evaluate import evaluate_policy
from dt.files import write_json
from dt.parallel.mesh import one_device
from dt.parallel.processes import is_first, to_host
from dt.training.loop import Measure
from dt.training.run import Run, alone_in

CARD = "card.json"  # the headline card of a run, in its directory

OnStep = Callable[[int, int], None]


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
            raise ValueError(f"{fault}; the run is trained: evaluate.py {run.directory}") from fault
        if card is not None:
            write_json(run.directory / CARD, card.to_json())
    return card


def measure_for(
    run: Run, *, command: str = "", on_message: Callable[[str], None] = print
) -> Measure | None:
    """Make what chooses the run's best checkpoint: the calibration error over few episodes, or
    minus the mean return of a model that takes none.

    They are episodes that no evaluation plays: the best of them would flatter its own card.

    Args:
        on_message: called when an environment breaks; it may work the next time, so training
            goes on.

    Returns:
        None where nothing can be played.
    """
    if run.task is None:
        return None

    def measure(state: TrainState) -> float | None:
        episodes = episodes_to_choose_by(run.config.evaluation.episodes)
        try:
            card = _play(run, state, episodes, True, command, lambda done, steps: None)
        except RolloutFault as fault:
            on_message(f"no card at update {int(state.step)}: {fault}; training goes on")
            return None
        if card is not None and not card.takes_return:
            return -card.targets[0].return_mean  # there is no target to miss: more is better
        return card.calibration.mae_over_range.value if card and card.calibration else None

    return measure


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
