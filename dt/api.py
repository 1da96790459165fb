"""The Python interface: from logged episodes to a run, its card and a policy, in a line each.

The scripts and commands call what is called here, so that rules, files and resuming are the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, TypeGuard

import numpy as np

from dt.acting.options import AS_TRAINED, ActingOptions
from dt.acting.targets import parse_targets
from dt.checkpoint.load import find_checkpoint, load_spec
from dt.config import TrainConfig, from_json, to_json
from dt.config.evaluation import NO_ENVIRONMENT
from dt.config.presets import OWN_DATA, PRESETS, preset_for, preset_named
from dt.data import Episode, EpisodeDataset, TrainingData, load_dataset
from dt.data.card.card import DataCard, data_card
from dt.data.default_environment import in_default_environment
from dt.data.formats.dicts import from_dicts
from dt.data.formats.flat import from_arrays
from dt.data.formats.frames import Frame, from_frame
from dt.data.streams import EpisodeSource
from dt.evaluation.card import AnyCard, Card
from dt.evaluation.comparison import Comparison, compare_cards, read_card
from dt.evaluation.of_run import Playing, card_of_run
from dt.evaluation.score_run import measure_for, score
from dt.play.installed import environments
from dt.report.plots import plot_calibration
from dt.report.write import publish_card, write_answer
from dt.spaces.arrays import Tree
from dt.spaces.records import stack_steps
from dt.training.hooks import Hooks
from dt.training.inputs import environment_for
from dt.training.run import Run, fit, prepare
from dt.training.run_directory import over
from dt.words import as_arguments, nearest, says_arguments, there_are

Logged: TypeAlias = (
    str
    | Path
    | EpisodeDataset
    | TrainingData
    | Sequence[Episode]
    | Sequence[Mapping[str, object]]
    | Mapping[str, np.ndarray | Sequence[Tree]]
    | Frame
)
"""Logged episodes: a path, glob, folder or id; arrays by name; a frame; episodes; or dicts."""


@says_arguments
def load_data(data: Logged, env_id: str | None = None, *, name: str = "data") -> EpisodeDataset:
    """Read logged episodes into memory.

    Args:
        data: a path, glob, folder, Minari id or "demo:" name; a mapping of arrays as in an .npz
            file (observations, actions, rewards, and terminations and truncations or
            episode_lengths); a frame with a row a step; episodes; or a list of
            dicts, of an episode or a step each.
        env_id: the environment that they come from, where the data do not say.
        name: what messages and cards call data that are in memory.

    Raises:
        ValueError: for what cannot be read, naming the file or name and the field.
    """
    if isinstance(data, str | Path):
        if str(data).startswith("demo:"):
            return environments().load_demo(str(data))
        return load_dataset(str(data), env_id)
    if isinstance(data, EpisodeDataset):
        return data if env_id is None else dataclasses.replace(data, env_id=env_id)
    if isinstance(data, TrainingData):
        raise ValueError(f"{name}: is laid out for training already; give the episodes themselves")
    if isinstance(data, Frame):
        return from_frame(data, name=name, env_id=env_id)
    if isinstance(data, Mapping):
        arrays = {
            str(key): stack_steps(values) if _are_trees(values) else _array(name, key, values)
            for key, values in data.items()
        }
        return from_arrays(name, arrays, env_id)
    dicts = [each for each in data or () if isinstance(each, Mapping)]
    if dicts and len(dicts) == len(data):
        return from_dicts(name, dicts, env_id)
    return from_arrays(name, _arrays_of(name, data), env_id)


def _array(name: str, key: str, values: np.ndarray | Sequence[Tree]) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"{name}: {key} holds rows of unequal shapes; give arrays of one shape, one a step"
        ) from error


def _are_trees(values: np.ndarray | Sequence[Tree]) -> TypeGuard[Sequence[Tree]]:
    """Whether they are steps of a Dict space, as an environment gives them."""
    return isinstance(values, Sequence) and len(values) > 0 and isinstance(values[0], Mapping)


def _arrays_of(name: str, episodes: Sequence[object]) -> dict[str, np.ndarray]:
    """Lay episodes end to end, as the arrays of an .npz file."""
    remedy = "give a path (a glob for several files), arrays by name, a frame, or dt.Episode values"
    if not isinstance(episodes, Sequence):
        raise ValueError(f"{name}: is of type {type(episodes).__name__}; {remedy}")
    kept = [episode for episode in episodes if isinstance(episode, Episode)]
    if not kept or len(kept) < len(episodes):
        stranger = next((e for e in episodes if not isinstance(e, Episode)), None)
        held = "nothing" if stranger is None else f"a {type(stranger).__name__}"
        raise ValueError(f"{name}: holds {held}; {remedy}")
    fields = ("observations", "actions", "rewards", "terminations", "truncations")
    arrays = {
        field: np.concatenate([getattr(e, field)[: len(e)] for e in kept]) for field in fields
    }
    finals = [e.observations[len(e) :] for e in kept]
    if all(map(len, finals)):
        arrays["final_observations"] = np.concatenate(finals)
    return {**arrays, "episode_lengths": np.array([len(e) for e in kept])}


@says_arguments
def describe(data: Logged, env_id: str | None = None) -> DataCard:
    """Describe logged episodes: spaces, lengths, returns, and whether the returns can steer."""
    source: EpisodeSource = load_data(data, env_id)
    return data_card(source)[0]


@says_arguments
def train(
    data: Logged,
    /,
    preset: str = "",
    config: TrainConfig | None = None,
    *,
    run_dir: str | Path = "",
    env_id: str = "",
    resume: bool = False,
    evaluate: bool = True,
    on_message: Callable[[str], None] = print,
    **changes: object,
) -> Run:
    """Train on logged episodes, and play the run's score card.

    What `train.py` writes is written: config.json, metrics.jsonl, checkpoints, card.json.

    >>> run = dt.train("hopper.npz", preset="hopper", num_steps=2000, model={"width": 64})

    Args:
        data: as for `load_data`; a path is kept as a training store, as the script does.
        preset: the name whose settings are the defaults; empty: "default", which knows no
            environment.
        config: all settings at once, in place of the preset's.
        run_dir: where the run is written; empty: runs/PRESET, numbered if that is taken.
        env_id: the environment to play, where the data do not name it.
        resume: go on from the newest sound checkpoint of run_dir.
        evaluate: play the card at the end, where there is an environment to play.
        on_message: told what a person may want to know, a line at a time.
        changes: fields of `TrainConfig`; of its parts, `data` among them, as dictionaries: what
            messages call model.width is changed by model={"width": 64}.

    Raises:
        ValueError: naming the field or file that is wrong, and how to mend it.
        KeyboardInterrupt: after the state was saved; `resume=True` goes on from there.
    """
    preset = preset or (preset_for(str(data)) if isinstance(data, str | Path) else OWN_DATA)
    settings = with_changes(preset_named(preset) if config is None else config, changes)
    settings = dataclasses.replace(settings, run_dir=str(run_dir), resume=resume)
    episodes: TrainingData | EpisodeDataset | None = None
    if isinstance(data, str | Path):
        if env_id:
            evaluation = dataclasses.replace(settings.evaluation, env=env_id)
            settings = dataclasses.replace(settings, evaluation=evaluation)
        source = dataclasses.replace(settings.data, source=str(data))
        settings = dataclasses.replace(settings, data=source)
    elif isinstance(data, TrainingData):
        episodes = data
    else:
        settings, episodes = _in_memory(preset, settings, data, env_id)

    def say(line: str) -> None:
        on_message(as_arguments(line))

    run = prepare(
        preset,
        settings,
        data=episodes,
        demos=lambda name: environments().load_demo(name),
        on_message=say,
    )
    for line in run.describe():
        say(line)
    measure = measure_for(run, command="dt.train", on_message=say, draw=plot_calibration)
    state = fit(run, hooks=Hooks(say), measure=measure)
    if evaluate and run.task is not None:
        card = score(run, state, command="dt.train")
        if card is not None:
            publish_card(run, card)
    return run


def _in_memory(
    preset: str, settings: TrainConfig, data: Logged, env_id: str
) -> tuple[TrainConfig, EpisodeDataset]:
    """Episodes in the environment that is asked for, by the rule of `environment_for`."""
    asked = env_id or settings.evaluation.env
    environment = environment_for(preset, dataclasses.replace(settings.evaluation, env=asked))
    episodes = load_data(data, environment.env_id)
    episodes = in_default_environment(
        episodes, environment.default, environment.env_kwargs, lambda env: load_data(data, env)
    )
    if environment.env_kwargs:
        kwargs = {**episodes.env_kwargs, **environment.env_kwargs}
        episodes = dataclasses.replace(episodes, env_kwargs=kwargs)
    # What is asked of the environment is said by the data from here on.
    usual = PRESETS[preset].evaluation
    evaluation = dataclasses.replace(
        settings.evaluation,
        env=asked if asked == NO_ENVIRONMENT else usual.env,
        max_episode_steps=usual.max_episode_steps,
    )
    return dataclasses.replace(settings, evaluation=evaluation), episodes


def with_changes(config: TrainConfig, changes: Mapping[str, object]) -> TrainConfig:
    """Replace fields, and fields of parts where a dictionary is given for one.

    Raises:
        ValueError: naming a field that is not there, with the nearest that is, or a value that is
            of another type or out of its bounds.
    """
    if not isinstance(config, TrainConfig):
        raise ValueError(
            f"config is a {type(config).__name__}; give dt.TrainConfig(...), or its fields as "
            f"arguments: num_steps=5000, model={{'width': 64}}"
        )
    values = to_json(config)
    parts = {name: list(part) for name, part in values.items() if isinstance(part, dict)}
    plain = {name: _plain(value) for name, value in changes.items()}
    for name, value in plain.items():
        if name not in values:
            homes = [part for part, fields in parts.items() if name in fields]
            hint = f"it is one of {homes[0]}: {homes[0]}={{{name!r}: ...}}" if homes else ""
            raise ValueError(f"no field {name!r} of TrainConfig; {hint or there_are(name, values)}")
        if name in parts and not isinstance(value, dict):
            fields = ", ".join(parts[name])
            raise ValueError(f"{name} is {value!r}; give a dictionary with some of {fields}")
        strangers = set(value) - set(parts[name]) if isinstance(value, dict) else set()
        for key in sorted(strangers):
            raise ValueError(f"no field {name}.{key}; {there_are(key, parts[name])}")
    return from_json(over(values, plain))


def _plain(value: object) -> object:
    """Give a value as JSON has it: a dataclass's fields by name, Python's numbers for NumPy's."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value


@says_arguments
def evaluate(
    run: Run | str | Path,
    targets: Sequence[float | str] | float | str = "p5:p95:7",
    episodes: int = 50,
    *,
    checkpoint: str = "last",
    env_id: str = "",
    seed: int = 0,
    options: ActingOptions = AS_TRAINED,
    write: bool = True,
    **how: object,
) -> Card:
    """Play a trained run at target returns, and score whether it follows them.

    What `evaluate.py` writes is written: RUN/cards/NAME.json, .md and .png, named by what was
    asked, and the link RUN/latest-card.json.

    >>> card = dt.evaluate(run, episodes=20)
    >>> card.calibration.slope

    Args:
        run: what `train` returned, or a run directory.
        targets: returns (50.0), the data's percentiles ("p50"), spans ("p5:p95:7"); one or a list.
        episodes: episodes for each target.
        checkpoint: last, best or an update's number.
        env_id: the environment to play; empty: the one that the data came from.
        seed: decides the starts of all episodes, the same ones at every target.
        options: how the policy acts; `how` changes single fields of it.
        write: whether the card is written; the return value is the same.

    Raises:
        ValueError: for a target that is none, a checkpoint that is not there or not sound, and
            where nobody names an environment.
        TypeError: for a name that is no acting option, with the nearest that is.
        EnvironmentFault: when an environment breaks; what had ended is kept in the run.
    """
    if not isinstance(run, Run | str | Path):
        raise TypeError(f"run is a {type(run).__name__}; give what dt.train gave, or its directory")
    for name, value, least in (("episodes", episodes, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")
    own = ("targets", "episodes", "checkpoint", "env_id", "seed", "options", "write")
    for name in how:
        meant = nearest(name, own)
        if meant is not None and not hasattr(options, name):
            raise TypeError(f"no argument {name!r}; did you mean {meant!r}?")
    options = options.changed(how)
    directory = run.directory if isinstance(run, Run) else Path(run)
    spec = load_spec(find_checkpoint(directory, checkpoint))
    playing = Playing(
        checkpoint=checkpoint,
        env_id=env_id,
        seed=seed,
        options=options,
        command="dt.evaluate",
    )
    given = [targets] if isinstance(targets, str | float | int) else targets
    words = [str(target) for target in given]
    asked = parse_targets(words, spec.dataset, "targets ")
    card = card_of_run(directory, asked, episodes, playing)
    if write:
        write_answer(card, directory, playing.question(words, episodes, spec))
    return card


@says_arguments
def compare(a: AnyCard | str | Path, b: AnyCard | str | Path) -> Comparison:
    """Compare two cards at the targets that both asked for: what changes from a to b.

    Args:
        a, b: cards, card files or run directories.

    Raises:
        ValueError: for cards of two environments or with no target in common.
    """
    cards = [read_card(Path(card)) if isinstance(card, str | Path) else card for card in (a, b)]
    names = [
        str(card) if isinstance(card, str | Path) else "ab"[i] for i, card in enumerate((a, b))
    ]
    return compare_cards(cards[0], cards[1], (names[0], names[1]))
