"""Make episodes of flat arrays of logged steps, whatever file they were in, and take them apart.

Arrays by name: observations, actions, rewards (one row a step), and the episodes' ends as
episode_lengths or as terminations and/or truncations. A file may also say:

    final_observations     (E, ...) the observation after each episode's last action
    observations/KEY, actions/KEY, final_observations/KEY     in place of these arrays, one for each
                           part of a Dict or Tuple space; keys within keys are joined by "/"
    env_id, env_kwargs     what Gymnasium makes; env_kwargs as JSON
    observation_space, action_space     Minari's JSON of a space
    ref_min, ref_max, ref_source        the returns that score 0 and 100, and whose they are
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import gymnasium
import numpy as np

from dt.data.episodes import Episode, EpisodeDataset, check_shapes, step_shapes
from dt.data.formats.names import in_our_words
from dt.data.reference import Reference
from dt.data.streams import EpisodeSource, cut_ends
from dt.files import first_line
from dt.spaces.environments import (
    EnvKwargs,
    environment_spaces,
    known_spaces,
    kwargs_of,
    logged_kwargs,
)
from dt.spaces.infer import infer_spaces
from dt.spaces.parts import leaves
from dt.spaces.records import build, to_records
from dt.spaces.text import space_from_text, space_to_text
from dt.words import nearest

STEPS = ("observations", "actions", "rewards")
ENDS = ("terminations", "truncations")
Spaces: TypeAlias = tuple[gymnasium.Space, gymnasium.Space]  # observations', actions'
_RECORDS = ("observations", "actions", "final_observations")
EXTRAS = (
    "episode_lengths",
    "final_observations",
    "env_id",
    "env_kwargs",
    "observation_space",
    "action_space",
    "ref_min",
    "ref_max",
    "ref_source",
)


def from_arrays(
    name: str,
    arrays: Mapping[str, np.ndarray],
    env_id: str | None = None,
    env_kwargs: EnvKwargs | None = None,
    notes: Sequence[str] = (),
) -> EpisodeDataset:
    """Check the arrays and find their spaces; `env_id` overrides what they say.

    Arrays of other libraries' names are understood, see `dt.data.formats.names`.

    Raises:
        ValueError: naming the file and the key that is missing or does not fit.
    """
    arrays, understood = in_our_words(name, arrays)
    notes = [*notes, *understood]
    own = _text(arrays["env_id"]) if "env_id" in arrays else None
    kwargs = kwargs_of(name, env_id, own, _logged_kwargs(name, arrays), env_kwargs)
    arrays = _joined(name, arrays, env_id, own, kwargs)
    for key in STEPS:
        _check_numbers(name, arrays, key)
    observations = arrays["observations"]
    actions = _plain_actions(arrays)
    rewards = arrays["rewards"]
    if rewards.ndim == 2 and rewards.shape[1] == 1:
        rewards = rewards[:, 0]
    for key in ENDS:
        if key in arrays and arrays[key].shape != rewards.shape:
            raise ValueError(
                f"{name}: {key} has shape {arrays[key].shape}, rewards {rewards.shape}; "
                f"every field needs one row a step"
            )
    inferred = False
    if env_id is not None:
        observation_space, action_space = environment_spaces(env_id, kwargs)
    else:
        env_id = own
        known = _stated_spaces(name, arrays) or known_spaces(env_id, kwargs)
        inferred = known is None
        if inferred and (observations.dtype.names or actions.dtype.names):
            raise ValueError(
                f"{name}: steps have several parts, and nothing says of which spaces; name their "
                f"environment (env_id=, --evaluation.env)"
            )
        observation_space, action_space = known or infer_spaces(observations, actions)
    offsets = _offsets(name, arrays, len(rewards))
    unmarked = np.zeros(len(rewards), bool)
    terminations, truncations = cut_ends(
        arrays.get("terminations", unmarked), arrays.get("truncations", unmarked), offsets
    )
    finals = arrays.get("final_observations")
    return EpisodeDataset(
        name=name,
        observations=observations,
        actions=actions,
        rewards=rewards,
        terminations=terminations,
        truncations=truncations,
        offsets=offsets,
        observation_space=observation_space,
        action_space=action_space,
        env_id=env_id,
        env_kwargs=kwargs,
        reference=_reference(name, arrays),
        final_observations=None if finals is None else finals.astype(observations.dtype),
        spaces_inferred=inferred,
        notes=tuple(notes),
    )


def from_steps(
    name: str,
    episodes: Sequence[Episode],
    env_id: str | None = None,
    env_kwargs: EnvKwargs | None = None,
    notes: Sequence[str] = (),
    stated: Spaces | None = None,
) -> EpisodeDataset:
    """Join the episodes of a file that holds them apart, and go on as `from_arrays`.

    Args:
        stated: the spaces that the file says it holds.
    """
    for index, episode in enumerate(episodes):
        check_shapes(name, index, episode, step_shapes(episodes[0]))
    if not episodes:
        raise ValueError(f"{name}: holds no episode; give a data set with at least one")
    arrays = {
        "observations": np.concatenate([e.observations[: len(e)] for e in episodes]),
        "episode_lengths": np.array([len(e) for e in episodes]),
    }
    for key in ("actions", "rewards", *ENDS):
        arrays[key] = np.concatenate([getattr(e, key) for e in episodes])
    finals = [e.observations[len(e) :] for e in episodes]
    if all(map(len, finals)):
        arrays["final_observations"] = np.concatenate(finals)
    if stated is not None:
        for key, space in zip(("observation_space", "action_space"), stated, strict=True):
            arrays[key] = np.array(space_to_text(space))
    return from_arrays(name, arrays, env_id, env_kwargs, notes)


def to_extras(source: EpisodeSource) -> dict[str, str | float]:
    """List what a file must say besides the steps, so that reading it gives the same data set."""
    extras: dict[str, str | float] = {
        "observation_space": space_to_text(source.observation_space),
        "action_space": space_to_text(source.action_space),
    }
    if source.env_id is not None:
        extras["env_id"] = source.env_id
    if source.env_kwargs:
        extras["env_kwargs"] = kwargs_to_text(source)
    if source.reference is not None:
        extras["ref_min"], extras["ref_max"] = source.reference.low, source.reference.high
        extras["ref_source"] = source.reference.source
    return extras


def to_columns(dataset: EpisodeDataset) -> dict[str, np.ndarray]:
    """Name the arrays of the steps, those of records part by part."""
    spaces = {
        "observations": dataset.observation_space,
        "actions": dataset.action_space,
        "final_observations": dataset.observation_space,
    }
    columns = {key: getattr(dataset, key) for key in ("rewards", *ENDS)}
    for key, space in spaces.items():
        values = getattr(dataset, key)
        for leaf in leaves(space) if values is not None else ():
            columns["/".join((key, *leaf.path))] = leaf.of(values)
    return columns


def is_part(key: str) -> bool:
    """Tell whether the name is that of a part of records."""
    return key.partition("/")[0] in _RECORDS and "/" in key


def kwargs_to_text(source: EpisodeSource) -> str:
    """Write the environment's keyword arguments as JSON.

    Raises:
        ValueError: where reading the JSON would not give the same back.
    """
    try:
        text = json.dumps(source.env_kwargs)
    except TypeError as error:
        raise ValueError(f"{source.name}: env_kwargs {source.env_kwargs}: {error}") from error
    if json.loads(text) != source.env_kwargs:
        raise ValueError(
            f"{source.name}: env_kwargs {source.env_kwargs} would not come back the same from "
            f"JSON; use lists in place of tuples, and words as keys"
        )
    return text


def complete_lengths(ends: np.ndarray) -> np.ndarray:
    """Measure the episodes that a True step ends; steps after the last one are in none."""
    return np.diff(np.concatenate([[0], np.flatnonzero(ends) + 1]))


def _joined(
    name: str,
    arrays: Mapping[str, np.ndarray],
    env_id: str | None,
    own: str | None,
    kwargs: EnvKwargs,
) -> Mapping[str, np.ndarray]:
    """The arrays, with records in place of those of their parts.

    Args:
        env_id: whose spaces those are; None: stated, or those of the file's `own` environment.
    """
    if not any(is_part(key) for key in arrays):
        return arrays
    found = environment_spaces(env_id, kwargs) if env_id is not None else None
    if found is None:
        found = _stated_spaces(name, arrays) or known_spaces(own, kwargs)
    if found is None:
        parts = ", ".join(sorted(key for key in arrays if is_part(key)))
        raise ValueError(
            f"{name}: holds {parts}, but not their spaces; add observation_space and action_space, "
            f"or name an environment that can be made here"
        )
    joined = {key: values for key, values in arrays.items() if not is_part(key)}
    for key, space in zip(_RECORDS, (found[0], found[1], found[0]), strict=True):
        if any(each.startswith(f"{key}/") for each in arrays):
            joined[key] = _records(name, key, space, arrays)
    return joined


def _records(
    name: str, key: str, space: gymnasium.Space, arrays: Mapping[str, np.ndarray]
) -> np.ndarray:
    """The arrays of the parts as one.

    Raises:
        ValueError: naming a part that is missing or of another length.
    """
    columns = {leaf.path: "/".join((key, *leaf.path)) for leaf in leaves(space)}
    for column in columns.values():
        if column not in arrays:
            raise ValueError(f"{name}: has no key {column!r}, which the space {space} asks for")
    try:
        return to_records(space, build(space, lambda leaf: arrays[columns[leaf.path]]))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {key}: {error}") from None


def _check_numbers(name: str, arrays: Mapping[str, np.ndarray], key: str) -> None:
    if key not in arrays:
        near = nearest(key, arrays)
        hint = f" ({near!r} may be it: rename that)" if near and near not in STEPS + ENDS else ""
        raise ValueError(f"{name}: has no key {key!r}; it holds {', '.join(sorted(arrays))}{hint}")
    if arrays[key].dtype.names is not None:
        return  # each part is checked against its space
    if arrays[key].ndim == 0 or arrays[key].dtype.kind not in "biuf":
        raise ValueError(
            f"{name}: {key} is {arrays[key].dtype} of shape {arrays[key].shape}; "
            f"it needs numbers, one row a step"
        )


def _plain_actions(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Discrete actions as integers in one axis, however they were logged."""
    actions = arrays["actions"]
    if actions.dtype == bool:
        actions = actions.astype(np.int64)
    if actions.ndim == 2 and actions.shape[1] == 1 and "action_space" not in arrays:
        if np.issubdtype(actions.dtype, np.integer):
            return actions[:, 0]
    return actions


def _offsets(name: str, arrays: Mapping[str, np.ndarray], num_steps: int) -> np.ndarray:
    if "episode_lengths" in arrays:
        lengths = arrays["episode_lengths"]
        if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
            raise ValueError(
                f"{name}: episode_lengths needs one positive integer an episode; it is "
                f"{lengths.dtype} of shape {lengths.shape}"
            )
        if (lengths < 1).any():
            first = int(np.argmax(lengths < 1))
            raise ValueError(
                f"{name}: episode_lengths needs one positive integer an episode; episode {first} "
                f"has {lengths[first]} steps, so remove it"
            )
        return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    ends = [arrays[key].astype(bool) for key in ENDS if key in arrays]
    if not ends:
        raise ValueError(
            f"{name}: does not say where episodes end; "
            f"add episode_lengths, or terminations and truncations"
        )
    last = np.flatnonzero(np.logical_or.reduce(ends)) + 1
    # Steps after the last marked end are an episode that the log cut off.
    return np.unique(np.concatenate([[0], last, [num_steps]]))


def _stated_spaces(name: str, arrays: Mapping[str, np.ndarray]) -> Spaces | None:
    if "observation_space" not in arrays or "action_space" not in arrays:
        return None
    texts = _text(arrays["observation_space"]), _text(arrays["action_space"])
    try:
        return space_from_text(texts[0]), space_from_text(texts[1])
    except ValueError as error:
        raise ValueError(
            f"{name}: observation_space and action_space are no spaces in Minari's JSON; "
            f"remove both keys"
        ) from error


def _reference(name: str, arrays: Mapping[str, np.ndarray]) -> Reference | None:
    if "ref_min" not in arrays or "ref_max" not in arrays:
        return None
    if arrays["ref_min"].size != 1 or arrays["ref_max"].size != 1:
        raise ValueError(f"{name}: ref_min and ref_max need one number each")
    source = _text(arrays["ref_source"]) if "ref_source" in arrays else "D4RL"
    try:
        low, high = (float(arrays[key].item()) for key in ("ref_min", "ref_max"))
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{name}: ref_min and ref_max need one number each") from None
    return Reference(source, low, high)


def _logged_kwargs(name: str, arrays: Mapping[str, np.ndarray]) -> EnvKwargs:
    if "env_kwargs" not in arrays:
        return {}
    try:
        value = json.loads(_text(arrays["env_kwargs"]))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{name}: env_kwargs is no JSON ({first_line(error)}); remove the key"
        ) from error
    try:
        return logged_kwargs(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _text(array: np.ndarray) -> str:
    value = array.reshape(-1)[0] if array.size else ""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
