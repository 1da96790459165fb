"""The rules of what a run learns from: its data, in which environment, and by which reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from dt.config import EvaluationConfig, TrainConfig
from dt.config.evaluation import NO_ENVIRONMENT
from dt.config.presets import PRESETS
from dt.data import EpisodeDataset, TrainingData
from dt.data.reference import Reference, task_of
from dt.data.store.store import OnSteps, load_training_data
from dt.data.streams import EpisodeSource
from dt.spaces.environments import EnvKwargs, refuse_untrusted, why_not_playable

Demos: TypeAlias = Callable[[str], EpisodeDataset]
"""The data set of a source such as "demo:cartpole"; ValueError where there is none."""


class Environment(NamedTuple):
    """In which environment data are read: the spaces are its, and it is the one to play."""

    env_id: str | None
    """The one that the user names; None: the data's own."""
    env_kwargs: EnvKwargs
    default: str | None
    """That of data which names none."""


def load_data(
    preset: str,
    config: TrainConfig,
    demos: Demos | None = None,
    *,
    on_message: Callable[[str], None] = print,
    on_steps: OnSteps = lambda steps: None,
) -> TrainingData:
    """Read the preset's demo or the user's source, in the environment that is asked for.

    Args:
        demos: makes the data of "demo:" sources.
        on_message, on_steps: as `say` and `on_steps` for `load_training_data`.

    Raises:
        ValueError: for a source that is not named, cannot be read, or does not fit the environment.
    """
    source = config.data.source
    if not source:
        raise ValueError(f"preset {preset} brings no data; name it with --data SOURCE")
    if source.startswith("demo:"):
        refuse_other_environment(preset, config.evaluation, f"--data {source}: the demo")
        if demos is None:
            raise ValueError(f"--data {source}: nothing here makes demos; pass demos= or data=")
        return TrainingData.of(demos(source), config.data.transforms)
    environment = environment_for(preset, config.evaluation)

    def accept(opened: EpisodeSource) -> None:
        refuse_untrusted_data(config.evaluation, opened)

    return load_training_data(
        source,
        config.data.transforms,
        env_id=environment.env_id,
        env_kwargs=environment.env_kwargs,
        default_env=environment.default,
        reward=config.data.reward,
        columns=config.data.columns,
        cache_dir=config.data.cache_dir,
        accept=accept,
        say=on_message,
        on_steps=on_steps,
    )


def environment_for(preset: str, evaluation: EvaluationConfig) -> Environment:
    """Choose the environment: the user's, else the data's own, else the preset's.

    That of the preset is no obstacle to training where it cannot be made.

    Raises:
        ValueError: when the environment that the user names cannot be made.
    """
    usual = PRESETS[preset].evaluation
    # A preset's time limit is of its own data.
    kwargs = evaluation.env_kwargs if evaluation.env_kwargs != usual.env_kwargs else {}
    if evaluation.env == NO_ENVIRONMENT:
        return Environment(None, kwargs, None)
    reason = why_not_playable(evaluation.env, kwargs) if evaluation.env else None
    if evaluation.env == usual.env:
        return Environment(None, kwargs, (evaluation.env or None) if reason is None else None)
    if reason:
        raise ValueError(f"--evaluation.env: {reason}")
    return Environment(evaluation.env or None, kwargs, None)


def refuse_untrusted_data(evaluation: EvaluationConfig, data: TrainingData | EpisodeSource) -> None:
    """Refuse data whose environment would run a module, or read files, that the user did not name.

    Raises:
        ValueError: naming the data, the environment, and what the user can do.
    """
    if data.env_id is None or evaluation.env == NO_ENVIRONMENT:
        return
    refuse_untrusted(
        data.name,
        data.env_id,
        data.env_kwargs,
        evaluation.env,
        "--evaluation.env",
        f", or train without a card by --evaluation.env {NO_ENVIRONMENT}",
    )


def refuse_other_environment(preset: str, evaluation: EvaluationConfig, what: str) -> None:
    """Refuse an environment that the user names for data which brings its own.

    Raises:
        ValueError: naming the environment, and the data as `what`.
    """
    usual = PRESETS[preset].evaluation
    same = evaluation.env in (usual.env, NO_ENVIRONMENT)
    if not same or evaluation.env_kwargs != usual.env_kwargs:
        raise ValueError(
            f"--evaluation.env {evaluation.env} {evaluation.env_kwargs or ''} with {what} is "
            f"played in its own environment; leave it out"
        )


def reference_of(preset: str, evaluation: EvaluationConfig, env_id: str | None) -> Reference | None:
    """Choose the reference of scores: the user's, or the preset's for its own task alone."""
    usual = PRESETS[preset].evaluation
    own = evaluation.reference == usual.reference and task_of(env_id) != task_of(usual.env)
    return None if own else evaluation.known_reference
