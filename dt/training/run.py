"""A run: what it learns from, in which directory, and its training from beginning to end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dt.acting.policy import ReturnConditionedPolicy
from dt.checkpoint.load import load_policy
from dt.checkpoint.state import TrainState
from dt.config import DistributedConfig, RunConfig, TrainConfig
from dt.config.evaluation import NO_ENVIRONMENT
from dt.config.presets import preset_named
from dt.data import EpisodeDataset, TrainingData
from dt.files import shown
from dt.model.heads import head_kind
from dt.parallel.processes import first_decides, is_first, start
from dt.parallel.startup import use_compilation_cache, use_cpu_cores
from dt.play.limits import cut_kwargs, time_limit
from dt.spaces.environments import EnvKwargs, why_not_playable
from dt.spec.spec import PolicySpec
from dt.training.hooks import Hooks, Measure
from dt.training.inputs import (
    Demos,
    load_data,
    reference_of,
    refuse_other_environment,
    refuse_untrusted_data,
)
from dt.training.learning import AnyFeed, AnyLearner
from dt.training.loop import train
from dt.training.run_directory import (
    extend,
    locked,
    named_or_newest,
    open_run,
    refuse_trained,
    write_config,
)
from dt.training.trackers import refuse_missing_trackers
from dt.training.warm_start import in_own_units, in_units_of_source, note_on_source, source_of


class Task(NamedTuple):
    """An environment to play, and its arguments."""

    env_id: str
    env_kwargs: EnvKwargs


@dataclass(frozen=True)
class Run:
    """All that training and its score card need; `prepare` makes one."""

    preset: str
    config: TrainConfig
    data: TrainingData
    spec: PolicySpec
    directory: Path
    task: Task | None
    """What the card is played in; None: nothing can be played."""
    unplayable: str = ""
    """Why there is no task."""
    notes: tuple[str, ...] = ()
    """What the user should know of the data and the task, in sentences."""

    def policy(self, checkpoint: str | int = "last", **changes: Any) -> ReturnConditionedPolicy:
        """Load the run's policy from a checkpoint: last, best or an update's number.

        Args:
            changes: fields of `ActingOptions`.

        Raises:
            ValueError: as `dt.load_policy`.
        """
        return load_policy(self.directory, checkpoint, **changes)

    def describe(self) -> list[str]:
        """Say in lines what is trained on and what is to be known about it."""
        returns = self.spec.dataset
        lines = [] if self.task else [f"no score card: {self.unplayable}"]
        lines.append(
            f"{self.data.name}: {len(self.data)} episodes, {self.data.num_steps} steps, returns "
            f"{returns.percentile(5):.4g} (p5) to {returns.percentile(95):.4g} (p95)"
        )
        return lines + [f"note: {shown(note)}" for note in self.notes]


def prepare(
    preset: str,
    config: TrainConfig,
    *,
    data: TrainingData | EpisodeDataset | None = None,
    demos: Demos | None = None,
    on_message: Callable[[str], None] = print,
    on_steps: Callable[[int], None] = lambda steps: None,
) -> Run:
    """Read the data, fit the units, and claim the run's directory.

    Args:
        preset: names the directory where the configuration does not, and what is usual.
        data: in place of the configuration's source; the environment is the one that it names.
        demos: makes the data of "demo:" sources.
        on_message: called when another process is waited for.
        on_steps: called with the steps written so far, when a training store is made.

    Raises:
        ValueError: for an unknown preset or head, data that cannot be read or do not fit the
            environment or the run whose weights are to be started from, and a directory that is
            taken, missing or of another configuration.
    """
    preset_named(preset)
    head_kind(config.model.head)  # refused here, before the data are read
    refuse_missing_trackers(config)
    start_jax(config.distributed)
    unplayable = "the data names no environment; name one with --evaluation.env"
    if data is None:
        data = load_data(preset, config, demos, on_message=on_message, on_steps=on_steps)
    else:
        if config.evaluation.env != data.env_id or config.evaluation.env_kwargs:
            refuse_other_environment(preset, config.evaluation, f"data {data.name}, which")
        if isinstance(data, EpisodeDataset):
            data = TrainingData.of(data, config.data.transforms)
    refuse_untrusted_data(config.evaluation, data)
    if config.evaluation.env == NO_ENVIRONMENT:
        unplayable = "none is asked for"
    elif data.unplayable:
        unplayable = f"{data.unplayable}; name another environment with --evaluation.env"
    elif data.env_id is not None:
        stated = data.observation_space, data.action_space
        unplayable = why_not_playable(data.env_id, data.env_kwargs, stated) or ""
    config = dataclasses.replace(config, init_from=source_of(preset, config))
    spec = _spec_of(preset, config, data)
    task = None if unplayable else task_for(data, spec.max_timesteps)
    return Run(
        preset=preset,
        config=config,
        data=data,
        spec=spec,
        directory=Path(first_decides(lambda: str(open_run(preset, config)))),
        task=task,
        unplayable=unplayable,
        notes=(*notes_on(data, task), *note_on_source(config)),
    )


def _spec_of(preset: str, config: TrainConfig, data: TrainingData) -> PolicySpec:
    """Fit the units on the data, or take them over with the weights of another run."""
    spec = PolicySpec.of(
        data,
        config.model,
        max_episode_steps=time_limit(data.env_id, data.env_kwargs),
        reference=reference_of(preset, config.evaluation, data.env_id),
    )
    guidance = (config.evaluation.guidance, config.evaluation.guidance_enough)
    if spec.is_guidable and guidance != (1.0, 1.0):
        spec = dataclasses.replace(spec, guidance=guidance)
    own = named_or_newest(preset, config.run_dir) if config.resume else None
    if config.init_from:
        return in_units_of_source(spec, config, own)
    return spec if own is None else in_own_units(spec, own)


def start_jax(config: DistributedConfig) -> None:
    """Join the run's other processes, and set what must be set before JAX starts."""
    use_compilation_cache()
    use_cpu_cores()
    start(config)


def task_for(data: TrainingData, max_timesteps: int) -> Task:
    """Give the data's environment a time limit where it has none: the longest the model knows."""
    assert data.env_id is not None
    return Task(data.env_id, cut_kwargs(data.env_id, data.env_kwargs, max_timesteps))


def notes_on(data: TrainingData, task: Task | None) -> tuple[str, ...]:
    """Collect what the reader left out, a time limit that was set, actions that no policy takes."""
    notes = [*data.notes]
    if task is not None and task.env_kwargs != data.env_kwargs:
        notes.append(
            f"{task.env_id} has no time limit, and is played for "
            f"{task.env_kwargs['max_episode_steps']} steps, the longest that the model knows; "
            f"--evaluation.max-episode-steps sets another"
        )
    for note in (data.actions_out_of_reach, data.outlying_reward):
        if note:
            notes.append(note)
    return tuple(notes)


def fit(run: Run, *, hooks: Hooks | None = None, measure: Measure | None = None) -> TrainState:
    """Train the run to its last update; config.json, the log and checkpoints are in its directory.

    Args:
        measure: chooses the best checkpoint where `evaluation.interval` asks for it; see
            `dt.evaluation.score_run.measure_for`.

    Raises:
        ValueError: when another process trains into the directory, when it holds a run already,
            and as `train`.
        KeyboardInterrupt: as `train`.
    """
    config, hooks = run.config, hooks or Hooks()
    if config.evaluation.interval and run.task is not None and measure is None:
        raise ValueError(
            f"evaluation.interval {config.evaluation.interval} asks for cards to choose a "
            f"checkpoint by; pass measure=measure_for(run) of dt.evaluation.score_run, or set it 0"
        )
    hooks = profiled(hooks, config, run.directory)
    with begun(run.preset, config, run.directory, hooks.on_message):
        return train(run.spec, run.data, config, run.directory, hooks=hooks, measure=measure)


@contextmanager
def begun(
    preset: str, config: RunConfig, directory: Path, say: Callable[[str], None]
) -> Iterator[None]:
    """Have a run's directory alone, and its configuration written there, while it is trained.

    Raises:
        ValueError: when another process trains into it, or it holds a run that is not resumed.
    """
    with alone_in(directory):
        if config.resume:
            note = first_decides(lambda: extend(directory, config))
            if note and is_first():
                say(f"note: {note}")
        else:
            first_decides(lambda: refuse_trained(directory))
            if is_first():
                write_config(directory, preset, config)
        yield


@contextmanager
def alone_in(run_dir: Path) -> Iterator[None]:
    """Keep processes of other runs out of the directory.

    Raises:
        ValueError: naming the process that has it.
    """
    with ExitStack() as stack:
        first_decides(lambda: stack.enter_context(locked(run_dir)))
        yield


def profiled(hooks: Hooks, config: RunConfig, run_dir: Path) -> Hooks:
    """Let hooks say where an update's time goes, before what else is done at the start, if asked.

    Returns:
        The hooks as they were where `profile` is not set.
    """
    if not config.profile:
        return hooks

    def on_start(learner: AnyLearner, state: TrainState, feed: AnyFeed) -> None:
        from dt.training.profiling import describe_profile, measure_training

        if hooks.on_start is not None:
            hooks.on_start(learner, state, feed)
        profile = measure_training(learner, state, feed, run_dir / "profile")
        if is_first():
            hooks.on_message(describe_profile(profile))

    return dataclasses.replace(hooks, on_start=on_start)
