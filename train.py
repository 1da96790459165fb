"""Dataset -> learner -> checkpoints -> score card. `python train.py --help` says what it takes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from dt.cli.train import parse_train_args
from dt.config import EvaluationConfig, TrainConfig
from dt.config.presets import PRESETS
from dt.data import TrainingData
from dt.data.reference import Reference, task_of

if TYPE_CHECKING:
    from rich.console import Console

    from dt.evaluation.card import Card


def main() -> int:
    try:
        preset, config = parse_train_args(sys.argv[1:])
        with ExitStack() as stack:
            return run(preset, config, stack)
    except (ValueError, OSError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"train.py: {str(interrupt) or 'stopped'}", file=sys.stderr)
        return 130


def run(preset: str, config: TrainConfig, stack: ExitStack) -> int:
    # Imported here so that --help and a mistyped preset answer at once.
    from rich.console import Console

    from dt.acting.policy import ReturnConditionedPolicy
    from dt.acting.rollout import RolloutFault
    from dt.acting.targets import parse_targets
    from dt.checkpoint.state import TrainState
    from dt.cli.progress import episode_progress, training_progress
    from dt.evaluation.evaluate import evaluate_policy
    from dt.parallel.mesh import one_device
    from dt.parallel.processes import first_decides, is_first, start, to_host
    from dt.parallel.startup import use_compilation_cache, use_cpu_cores
    from dt.play.limits import cut_kwargs, time_limit
    from dt.spaces.environments import why_not_playable
    from dt.spec.spec import PolicySpec
    from dt.training.feed import Feed
    from dt.training.hooks import Hooks
    from dt.training.loop import train
    from dt.training.run_directory import locked, open_run, write_config
    from dt.training.step import Learner

    use_compilation_cache()
    use_cpu_cores()
    start(config.distributed)
    console = Console(highlight=False, quiet=not is_first())
    evaluation = config.evaluation
    data = load_data(preset, config, console)
    problem = "the data names no environment"
    if data.env_id is not None:
        problem = why_not_playable(data.env_id, data.env_kwargs) or ""
    if problem:
        console.print(f"no score card: {problem}", markup=False)
    spec = PolicySpec.of(
        data,
        config.model,
        max_episode_steps=time_limit(data.env_id, data.env_kwargs),
        reference=reference_of(preset, evaluation, data.env_id),
    )
    run_dir = Path(first_decides(lambda: str(open_run(preset, config))))
    first_decides(lambda: stack.enter_context(locked(run_dir)))
    if not config.resume and is_first():
        write_config(run_dir, preset, config)
    console.print(
        f"{data.name}: {len(data)} episodes, {data.num_steps} steps, returns "
        f"{spec.dataset.percentile(5):.4g} (p5) to {spec.dataset.percentile(95):.4g} (p95)",
        markup=False,
    )

    def say(line: str) -> None:
        console.print(line, markup=False)

    playing = data.env_kwargs
    if not problem:
        playing = cut_kwargs(str(data.env_id), data.env_kwargs, spec.max_timesteps)
    notes = [*data.notes]
    if playing != data.env_kwargs:
        notes.append(
            f"{data.env_id} has no time limit, and is played for {spec.max_timesteps} steps, the "
            f"longest that the model knows; --evaluation.max-episode-steps sets another"
        )
    if data.actions_out_of_reach:
        notes.append(data.actions_out_of_reach)
    for note in notes:
        console.print(f"note: {note}", markup=False)

    def card_of(
        state: TrainState,
        episodes: int,
        on_step: Callable[[int, int], None] = lambda *_: None,
        choosing: bool = False,
    ) -> Card | None:
        assert data.env_id is not None
        params = to_host(state.params)  # all processes have a part; the first one plays
        if not is_first():
            return None
        return evaluate_policy(
            ReturnConditionedPolicy(one_device(params), spec),
            parse_targets([f"p5:p95:{evaluation.num_targets}"], spec.dataset),
            episodes,
            env_id=data.env_id,
            env_kwargs=playing,
            seed=config.seed,
            checkpoint_step=int(state.step),
            command=" ".join(["train.py", *sys.argv[1:]]),
            fitting=choosing,
            on_step=on_step,
        )

    def measure(state: TrainState) -> float | None:
        """Of episodes that no evaluation plays: the best of them would flatter its own card."""
        try:
            card = card_of(state, max(1, evaluation.episodes // 5), choosing=True)
        except RolloutFault as fault:  # what broke may work the next time, and training can wait
            say(f"no card at update {int(state.step)}: {fault}; training goes on")
            return None
        return card.calibration.mae_over_range.value if card and card.calibration else None

    def profile(learner: Learner, state: TrainState, feed: Feed) -> None:
        from dt.training.profiling import describe_profile, measure_training

        say(describe_profile(measure_training(learner, state, feed, run_dir / "profile")))

    with training_progress(console, config.num_steps) as on_round:
        state = train(
            spec,
            data,
            config,
            run_dir,
            hooks=Hooks(say, on_round, profile if config.profile else None),
            measure=None if problem else measure,
        )
    if problem:
        console.print(f"trained {run_dir}", markup=False)
        return 0
    # Pictures: not before training starts.
    from dt.report.card_table import print_card
    from dt.report.write import write_card

    with episode_progress(console, evaluation.num_targets * evaluation.episodes) as on_step:
        try:
            card = card_of(state, evaluation.episodes, on_step)
        except RolloutFault as fault:
            raise ValueError(f"{fault}; the run is trained: evaluate.py {run_dir}") from fault
    if card is None:
        return 0
    written = write_card(card, run_dir)
    print_card(card, console)
    console.print("wrote " + ", ".join(map(str, [run_dir, *written])), markup=False)
    return 0


def load_data(preset: str, config: TrainConfig, console: Console) -> TrainingData:
    """The preset's demo or the user's source, in the environment that is asked for.

    That is the one that the user names, else the data's own, else the preset's, which is no
    obstacle to training where it is not installed.
    """
    from dt.cli.progress import reading_progress
    from dt.data.store.store import load_training_data
    from dt.spaces.environments import why_not_playable
    from envs import load_demo

    source, evaluation = config.data.source, config.evaluation
    usual = PRESETS[preset].evaluation
    if not source:
        raise ValueError(f"preset {preset} brings no data; name it with --data SOURCE")
    if source.startswith("demo:"):
        if (evaluation.env, evaluation.env_kwargs) != (usual.env, usual.env_kwargs):
            raise ValueError(
                f"--evaluation.env {evaluation.env} {evaluation.env_kwargs or ''} with --data "
                f"{source}: the demo is played in its own environment; leave it out"
            )
        return TrainingData.of(load_demo(source), config.data.transforms)
    # A preset's time limit is of its own data.
    kwargs = evaluation.env_kwargs if evaluation.env_kwargs != usual.env_kwargs else {}
    env_id, default_env = evaluation.env or None, None
    reason = why_not_playable(evaluation.env, kwargs) if env_id else None
    if evaluation.env == usual.env:
        env_id, default_env = None, env_id if reason is None else None
    elif reason:
        raise ValueError(f"--evaluation.env: {reason}")
    with reading_progress(console) as on_steps:
        return load_training_data(
            source,
            config.data.transforms,
            env_id=env_id,
            env_kwargs=kwargs,
            default_env=default_env,
            reward=config.data.reward,
            cache_dir=config.data.cache_dir,
            say=console.print,
            on_steps=on_steps,
        )


def reference_of(preset: str, evaluation: EvaluationConfig, env_id: str | None) -> Reference | None:
    """The one that the user names; the preset's is its own task's alone."""
    usual = PRESETS[preset].evaluation
    own = evaluation.reference == usual.reference and task_of(env_id) != task_of(usual.env)
    return None if own else evaluation.known_reference


if __name__ == "__main__":
    sys.exit(main())
