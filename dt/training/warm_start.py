"""Weights of another run to start from: which checkpoint, whether it fits, and in whose units."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TypedDict

import gymnasium
import numpy as np
from jaxtyping import Float

from dt.checkpoint.load import find_checkpoint, load_spec
from dt.checkpoint.manifest import checkpoints_of, complete_steps
from dt.config import TrainConfig
from dt.spaces.parts import Leaf, Parts, leaves
from dt.spec.normalizer import Normalizer
from dt.spec.spec import PolicySpec
from dt.training.run_directory import recorded

# Options of the model that change neither what its weights mean nor how many there are.
FREE = (
    "size",  # a name for three others
    "dropout",
    "return_dropout",
    "return_smoothing",
    "return_weight",
    "return_expectile",
    "remat",
    "dtype",
    "max_timesteps",  # of the spec, where 0 has become a number
)


def source_of(preset: str, config: TrainConfig) -> str:
    """Name the checkpoint whose weights a run starts from, as RUN@UPDATE; empty for none.

    A resumed run has the one that it started from, unless another is named, which is refused later.

    Raises:
        ValueError: when there is no such checkpoint.
    """
    text = config.init_from
    if config.resume:
        before = str(recorded(preset, config.run_dir).get("init_from", ""))
        if text in ("", before):
            return before
    if not text:
        return ""
    folder = source_folder(text)
    return f"{_split(text)[0]}@{folder.name}"


def source_folder(text: str) -> Path:
    """Find the checkpoint that RUN, RUN@last, RUN@best or RUN@UPDATE names.

    Raises:
        ValueError: when there is none.
    """
    run_dir, checkpoint = _split(text)
    try:
        return find_checkpoint(Path(run_dir), checkpoint)
    except ValueError as error:
        raise ValueError(f"--init-from {text}: {error}") from None


def in_units_of_source(spec: PolicySpec, config: TrainConfig, run_dir: Path | None) -> PolicySpec:
    """Give the spec of new data the units that the weights were trained in.

    Numbers of observations, actions and returns are scaled as in the source, the bins of actions
    and of predicted returns lie where they did, and positions reach as far. What the new data
    decide are the returns to ask for, the spaces and the environment.

    Args:
        run_dir: of a resumed run; its own checkpoints have these units, wherever the source is.

    Raises:
        ValueError: naming the field in which the two do not fit.
    """
    source = _own_spec(run_dir) or load_spec(source_folder(config.init_from))
    _check(spec, source, f"--init-from {config.init_from}")
    predicts = spec.layout.return_predictor is not None and spec.model.return_head == "bins"
    return dataclasses.replace(
        spec,
        **_units_of(source, spec),
        return_range=source.return_range if predicts else spec.return_range,
        max_timesteps=source.max_timesteps,
    )


def in_own_units(spec: PolicySpec, run_dir: Path) -> PolicySpec:
    """Give the spec of a resumed run the units that its checkpoints have.

    They are those that would be fitted anew, unless an older release of this package fitted them.
    """
    own = _own_spec(run_dir)
    if own is None or (own.observation_space, own.action_space) != (
        spec.observation_space,
        spec.action_space,
    ):  # other data: what restores the state says how they differ
        return spec
    return dataclasses.replace(spec, **_units_of(own, spec))


def note_on_source(config: TrainConfig) -> tuple[str, ...]:
    """Say where a run's first weights are from."""
    if not config.init_from or config.resume:
        return ()
    return (f"starts from the weights of {config.init_from}, in the units of its data",)


class _Units(TypedDict):
    """Fields of a spec that say in which units a model's numbers are."""

    observation_normalizer: Normalizer
    return_normalizer: Normalizer
    action_normalizer: Normalizer
    action_edges: Float[np.ndarray, "A K1"] | None


def _units_of(source: PolicySpec, spec: PolicySpec) -> _Units:
    """Take the units over, of numbers that are counted from where the new data's are."""
    observation, action = source.observation_normalizer, source.action_normalizer
    return _Units(
        observation_normalizer=observation.counted_from(spec.observation_normalizer.origin),
        return_normalizer=source.return_normalizer,
        action_normalizer=action.counted_from(spec.action_normalizer.origin),
        action_edges=source.action_edges,
    )


def _split(text: str) -> tuple[str, str]:
    run_dir, at, checkpoint = text.rpartition("@")
    return (run_dir, checkpoint) if at and not Path(text).is_dir() else (text, "last")


def _own_spec(run_dir: Path | None) -> PolicySpec | None:
    """Read the spec of a run's newest sound checkpoint; None where there is none."""
    if run_dir is None:
        return None
    directory = checkpoints_of(run_dir)
    for step in reversed(complete_steps(directory)):
        try:
            return load_spec(directory / str(step))
        except ValueError:  # said by whoever restores the state
            continue
    return None


def _check(spec: PolicySpec, source: PolicySpec, what: str) -> None:
    """Refuse weights of another model, of other spaces, or for shorter episodes."""
    for field in dataclasses.fields(spec.model):
        here, there = (getattr(each.model, field.name) for each in (spec, source))
        if field.name not in FREE and here != there:
            flag = f"--model.{field.name.replace('_', '-')} {there}"
            raise ValueError(
                f"{what}: model.{field.name} is {there} there and {here} here; give {flag}"
            )
    here, there = (each.transforms.normalize_observations for each in (spec, source))
    if here != there:
        raise ValueError(
            f"{what}: data.normalize_observations is {there} there and {here} here; give the same"
        )
    for name in ("observation_space", "action_space"):
        ours, theirs = getattr(spec, name), getattr(source, name)
        if difference := _difference(theirs, ours, bounds=name == "action_space"):
            raise ValueError(f"{what}: {name} does not fit: {difference}")
    given = spec.model.max_timesteps
    if given not in (0, source.max_timesteps) or spec.max_timesteps > source.max_timesteps:
        raise ValueError(
            f"{what}: max_timesteps is {source.max_timesteps} there, but {spec.max_timesteps} are "
            f"needed here, by the longest episode of the data, the environment's time limit or "
            f"--model.max-timesteps"
        )


def _difference(there: gymnasium.Space, here: gymnasium.Space, bounds: bool) -> str:
    """Say in which part two spaces differ for a model; empty where they do not.

    Bounds count where actions are scaled to them.
    """
    theirs, ours = (leaves(space, images=not bounds) for space in (there, here))
    names = [[leaf.name for leaf in each] for each in (theirs, ours)]
    if names[0] != names[1]:
        return f"its parts are {_listed(names[0])} there and {_listed(names[1])} here"
    for old, new in zip(theirs, ours, strict=True):
        words = [_words(leaf) for leaf in (old, new)]
        place = f"{old.name}: " if old.name else ""
        if words[0] != words[1]:
            return f"{place}{words[0]} there and {words[1]} here"
    if bounds:
        old_limits, new_limits = map(_limits, (there, here))
        changed = (old_limits != new_limits).any(axis=0)
        if changed.any():
            number = int(np.argmax(changed))
            old_box, new_box = (each[:, number].tolist() for each in (old_limits, new_limits))
            return f"number {number} lies in {old_box} there and in {new_box} here"
    return ""


def _limits(space: gymnasium.Space) -> Float[np.ndarray, "2 A"]:
    """Find the lowest and highest value of each number of an action; infinite where it has none."""
    parts = Parts.of(space, images=False)
    return np.where(parts.bounded, np.stack(parts.bounds), np.inf)


def _words(leaf: Leaf) -> str:
    counts = f", {leaf.counts.tolist()} values" if leaf.kind == "categories" else ""
    return f"{leaf.kind} of shape {leaf.shape}{counts}"


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
