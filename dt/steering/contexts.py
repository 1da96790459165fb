"""Contexts: windows of a run's own data, in batches, from which the model acts next.

A context ends at a step whose action the model is about to choose: its last real step has an
observation and a return, and whatever stands in the place of its action is seen by nobody before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from dt.checkpoint.hugging_face.folder import is_hugging_face
from dt.config import TrainConfig, from_json, to_json
from dt.config.presets import OWN_DATA, PRESETS
from dt.data import EpisodeDataset, TrainingData
from dt.data.batches.split import split_episodes
from dt.data.batches.windows import Batch, Windows, as_batch, map_arrays
from dt.data.store.reading import read_rows
from dt.spaces.parts import facts
from dt.spec.spec import PolicySpec
from dt.steering.subject import Subject
from dt.training.inputs import load_data
from dt.training.run_directory import CONFIG, over, recorded

SPARE = 4  # windows drawn for each context that is wanted, where some may be too short

Demos: TypeAlias = Callable[[str], EpisodeDataset]
"""The data set of a source such as "demo:cartpole"."""


@dataclass(frozen=True)
class Contexts:
    """B contexts of up to T timesteps, in the model's units, padded on the right."""

    batch: Batch  # (B, T, ...) NumPy arrays
    last: Int[np.ndarray, " B"]  # index of the step that is about to act: the last real one
    episodes: Int[np.ndarray, " B"]  # of the data
    returns: Float[np.ndarray, " B"]  # of these episodes, from their start on
    held_out: bool  # whether the model never learned from these episodes

    def __len__(self) -> int:
        return len(self.last)

    def __getitem__(self, rows: slice | Int[np.ndarray, " b"] | Bool[np.ndarray, " B"]) -> Contexts:
        """Take some of the contexts."""
        batch = jax.tree.map(lambda x: x[rows], self.batch)
        return Contexts(
            batch, self.last[rows], self.episodes[rows], self.returns[rows], self.held_out
        )

    def asked(self, spec: PolicySpec, target: float) -> Contexts:
        """Show the returns of an agent that was asked for `target` and went the same way.

        What it had received is taken off, and what is left is kept within the data's range, as a
        policy that acts does.
        """
        batch, units = self.batch, spec.return_normalizer
        # R_{t+1} = (R_t - r_t) / discount: a difference at the start grows on its way.
        growth = spec.transforms.discount ** -np.asarray(batch.timesteps, np.float64)
        shift = (target - self.returns)[:, None] * growth
        left = np.clip(units.invert(np.asarray(batch.returns_to_go)) + shift, *spec.return_range)
        shown = np.asarray(units(left.astype(np.float32)), np.float32)
        return dataclasses.replace(self, batch=batch._replace(returns_to_go=shown))

    def split(self, count: int) -> tuple[Contexts, Contexts]:
        """Take the first `count`, and the others."""
        return self[:count], self[count:]


def config_of(run_dir: Path) -> tuple[str, TrainConfig]:
    """Read what a run was trained with: its preset and options; younger ones at their defaults.

    Raises:
        ValueError: for a folder that holds no run, and for options that there are not.
    """
    values = dict(recorded("", str(run_dir)))
    if not values:
        raise ValueError(
            f"{run_dir}: has no {CONFIG} that names the data; name them with --data SOURCE"
        )
    preset = str(values.pop("preset", ""))
    known = to_json(TrainConfig())
    return preset, from_json(over(known, _known(values, known)))


def _known(values: dict[str, object], known: dict[str, object]) -> dict[str, object]:
    """Leave out what other versions know beside ours, in each part."""
    kept: dict[str, object] = {}
    for name, value in values.items():
        default = known.get(name)
        if isinstance(default, dict) and isinstance(value, dict):
            kept[name] = {key: each for key, each in value.items() if key in default}
        elif name in known:
            kept[name] = value
    return kept


def data_of(
    run_dir: Path | None, source: str = "", demos: Demos | None = None
) -> tuple[TrainingData, TrainConfig]:
    """Read the data of a run, or those that are named in their place.

    Args:
        source: as for `--data`; empty: what the run was trained on.
        demos: makes the data of "demo:" sources.

    Returns:
        The data, and the run's options; the defaults where the folder is no run of ours.

    Raises:
        ValueError: where nothing names any data, and for data that cannot be read.
    """
    preset, config = OWN_DATA, TrainConfig()
    if run_dir is not None and not is_hugging_face(run_dir) and (run_dir / CONFIG).is_file():
        preset, config = config_of(run_dir)
    data = dataclasses.replace(config.data, source=source or config.data.source)
    if not data.source:
        raise ValueError(
            f"{run_dir or 'a policy'}: nothing says what data its contexts are to come from; name "
            f"them with --data SOURCE"
        )
    config = dataclasses.replace(config, data=data)
    known = preset if preset in PRESETS else OWN_DATA
    return load_data(known, config, demos, on_message=lambda line: None), config


def draw_contexts(
    data: TrainingData,
    spec: PolicySpec,
    count: int,
    seed: int = 0,
    holdout_fraction: float = 0.0,
    training_seed: int = 0,
    least_steps: int = 0,
) -> Contexts:
    """Draw contexts that end at steps of the data drawn uniformly, from what is held out if any is.

    Args:
        holdout_fraction, training_seed: those of the run, which say what it held out.
        least_steps: before the last that each context has.

    Raises:
        ValueError: for data of other spaces than the policy's.
    """
    _check_data(data, spec)
    training, held_out = split_episodes(data.offsets, data.returns, holdout_fraction, training_seed)
    part = training if held_out is None else held_out
    model = spec.model
    if least_steps >= model.context_length:
        raise ValueError(
            f"{least_steps} steps before the last are to be changed, and the model sees "
            f"{model.context_length - 1}; ask for fewer (--length)"
        )
    windows = part.draw_ends(
        model.context_length,
        seed,
        range(SPARE * count),
        None if model.prefix == "none" else model.prefix,
        model.prompt_length,
    )
    long = np.flatnonzero(np.asarray(windows.length) > least_steps)[:count]
    if len(long) < count:
        raise ValueError(
            f"{data.name}: hardly any of its steps have {least_steps} before them; ask for fewer "
            f"steps (--length), or name data of longer episodes"
        )
    windows = map_arrays(lambda x: x[long], windows)
    batch = _cut(data, spec, windows._replace(prefix=None), model.context_length)
    if windows.prefix is not None:
        batch = batch._replace(prefix=_cut(data, spec, windows.prefix, spec.prefix_steps))
    episodes = np.searchsorted(data.offsets, np.asarray(windows.start), side="right") - 1
    last = np.asarray(windows.length) - 1
    return Contexts(batch, last, episodes, data.returns[episodes], held_out is not None)


def contexts_of(
    subject: Subject,
    count: int,
    seed: int = 0,
    source: str = "",
    demos: Demos | None = None,
    least_steps: int = 0,
) -> Contexts:
    """Draw contexts of a policy's own data: held out where the run held any out.

    Args:
        source: data in place of the run's; needed for a policy that comes without a run.
        demos: makes the data of "demo:" sources.
        least_steps: before the last that each context has.

    Raises:
        ValueError: as `data_of` and `draw_contexts`.
    """
    data, config = data_of(subject.source, source, demos)
    fraction = config.data.holdout_fraction if not source else 0.0
    spec = subject.policy.spec
    return draw_contexts(data, spec, count, seed, fraction, config.seed, least_steps)


def _cut(data: TrainingData, spec: PolicySpec, windows: Windows, num_steps: int) -> Batch:
    held = [rows for rows in (data.rows, data.images) if rows is not None]
    read = [read_rows(rows, windows, num_steps) for rows in held]
    return as_batch(spec.codec.encode(*read), windows, num_steps)


def _check_data(data: TrainingData, spec: PolicySpec) -> None:
    for name, have, want in (
        ("observation", data.observation_space, spec.observation_space),
        ("action", data.action_space, spec.action_space),
    ):
        if facts(have) != facts(want):
            raise ValueError(
                f"{data.name}: its {name} space is {have}, but the policy was trained on {want}; "
                f"name the data of the policy with --data"
            )
    for what, columns, normalizer in (
        ("observations", data.columns.observation, spec.observation_normalizer),
        ("actions", data.columns.action, spec.action_normalizer),
    ):
        ours, theirs = normalizer.origin, data.origin(columns)
        if not np.array_equal(0.0 if ours is None else ours, 0.0 if theirs is None else theirs):
            raise ValueError(
                f"{data.name}: its {what} are so far from zero that they are counted from an "
                f"origin of their own, another than the policy's; name the policy's own data"
            )
