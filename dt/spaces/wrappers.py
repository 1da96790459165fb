"""Rebuild the wrappers that an environment's record names, where they are Gymnasium's own.

They travel as one more argument of the environment, `wrappers`: a list of [name, arguments], from
the innermost to the outermost. Only classes of `gymnasium.wrappers` are made, with plain JSON as
arguments; an entry point that a file gives is compared and never called.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium.envs.registration import WrapperSpec

Recorded: TypeAlias = tuple[str, dict[str, Any]]  # a wrapper's name and arguments

WRAPPERS = "wrappers"  # the argument
MOST = 32  # wrappers around one environment; a file that has more is no record

# What a step or an action means depends on these alone, and on their arguments.
_REBUILT = frozenset(
    "AddRenderObservation AtariPreprocessing ClipAction ClipReward DelayObservation"
    " DiscretizeAction DiscretizeObservation DtypeObservation FilterObservation FlattenObservation"
    " FrameStackObservation GrayscaleObservation MaxAndSkipObservation ReshapeObservation"
    " RepeatAction RescaleAction RescaleObservation ResizeObservation StickyAction"
    " TimeAwareObservation TimeLimit".split()
)
# These change no observation, action or reward.
_WITHOUT_EFFECT = frozenset(
    "HumanRendering OrderEnforcing PassiveEnvChecker RecordEpisodeStatistics RecordVideo"
    " RenderCollection".split()
)
# These change pictures alone, which are seen where AddRenderObservation shows them.
_PICTURES = frozenset({"AddWhiteNoise", "ObstructView"})
_REASONS = {
    "NormalizeObservation": "its running mean and deviation were not recorded",
    "NormalizeReward": "its running deviation was not recorded",
    "Autoreset": "its episodes begin with a step that no action took part in",
    **dict.fromkeys(
        ("TransformAction", "TransformObservation", "TransformReward"),
        "its function is code",
    ),
    **dict.fromkeys(
        ("ArrayConversion", "JaxToNumpy", "JaxToTorch", "NumpyToTorch"),
        "it converts arrays of another library",
    ),
}
# Names and arguments of Gymnasium before 1.0.
_EARLIER = {"FrameStack": "FrameStackObservation", "GrayScaleObservation": "GrayscaleObservation"}
_EARLIER_ARGUMENTS = {"num_stack": "stack_size"}
_EARLIER_ONLY = {"lz4_compress"}
# One step of these is several of what they wrap, so that it matters where a time limit stands.
_SEVERAL_STEPS = frozenset({"AtariPreprocessing", "MaxAndSkipObservation", "RepeatAction"})
_ASKS_LIMIT = frozenset({"TimeAwareObservation"})  # and this one asks what it wraps for the limit
_ARRAYS = frozenset("min_action max_action min_obs max_obs min_reward max_reward".split())


class NotRebuilt(ValueError):
    """Wrappers that this package does not rebuild: the environment is another than the logged."""


def wrappers_of(record: Mapping[str, Any]) -> list[Recorded]:
    """Find the wrappers that a recorded `EnvSpec`, as JSON, needs besides what its id makes.

    Raises:
        NotRebuilt: naming the wrapper and the reason.
        ValueError: for a record of another form.
    """
    recorded = record.get("additional_wrappers") or []
    if not isinstance(recorded, list) or len(recorded) > MOST:
        raise ValueError("additional_wrappers is no list of wrappers")
    if record.get("autoreset") is True:  # a flag before Gymnasium 1.0
        raise NotRebuilt(f"the wrapper Autoreset ({_REASONS['Autoreset']})")
    names = [str(each["name"]) for each in recorded]
    registered = gymnasium.registry.get(str(record.get("id")))
    own = () if registered is None else registered.additional_wrappers
    if names[: len(own)] == [each.name for each in own]:  # its id makes these
        recorded = recorded[len(own) :]
    found = [kept for each in recorded if (kept := _rebuilt(each, names)) is not None]
    limit = record.get("max_episode_steps")
    usual = None if registered is None else registered.max_episode_steps
    several = [name for name, _ in found if name in _SEVERAL_STEPS | _ASKS_LIMIT]
    if several and limit is not None and limit != usual:
        raise NotRebuilt(
            f"a time limit of {limit} steps beside the wrapper {several[0]} (the record does not "
            f"say whose steps it counts)"
        )
    return found


def _rebuilt(record: Mapping[str, Any], names: list[str]) -> Recorded | None:
    """One wrapper's name and arguments; None where it has no effect on what is played."""
    name, entry_point, kwargs = record["name"], record["entry_point"], record["kwargs"]
    if not str(entry_point).startswith(("gymnasium.wrappers.", "gymnasium.wrappers:")):
        raise NotRebuilt(f"the wrapper {str(entry_point)[:80]!r} (it is not Gymnasium's own)")
    name = _EARLIER.get(name, name)
    if name in _WITHOUT_EFFECT or (name in _PICTURES and "AddRenderObservation" not in names):
        return None
    if name not in _REBUILT:
        reason = _REASONS.get(name, "it is not known here")
        raise NotRebuilt(f"the wrapper {str(name)[:80]} ({reason})")
    if not isinstance(kwargs, dict):
        raise NotRebuilt(f"the wrapper {name} (its arguments were not recorded)")
    kept = {
        _EARLIER_ARGUMENTS.get(key, str(key)): value
        for key, value in kwargs.items()
        if key not in _EARLIER_ONLY
    }
    return str(name), kept


def check_wrappers(value: object) -> None:
    """Refuse what is no list of wrappers that are rebuilt here, each with plain arguments.

    Raises:
        ValueError: naming the wrapper.
    """
    if not isinstance(value, list) or len(value) > MOST:
        raise ValueError(f"{WRAPPERS} is {str(value)[:80]!r}; it needs a list of [name, arguments]")
    for each in value:
        if not (isinstance(each, list) and len(each) == 2 and isinstance(each[1], dict)):
            raise ValueError(f"{WRAPPERS} holds {str(each)[:80]!r}; it needs [name, arguments]")
        if each[0] not in _REBUILT:
            raise ValueError(
                f"{WRAPPERS} holds {str(each[0])[:80]!r}; of gymnasium.wrappers these are made: "
                f"{', '.join(sorted(_REBUILT))}"
            )
        json.dumps(each[1])


def without_wrappers(env_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Leave what `gymnasium.make` itself takes."""
    return {name: value for name, value in env_kwargs.items() if name != WRAPPERS}


def wrapping(env_kwargs: Mapping[str, Any]) -> Callable[[gymnasium.Env], Any]:
    """Make what puts the wrappers of these arguments around an environment; processes may be
    given it.

    Raises:
        ValueError: as `check_wrappers`.
    """
    recorded = env_kwargs.get(WRAPPERS) or []
    check_wrappers(recorded)
    return partial(_wrap, [(name, kwargs) for name, kwargs in recorded])


def wrapper_specs(env_kwargs: Mapping[str, Any]) -> tuple[WrapperSpec, ...]:
    """Give the wrappers as Gymnasium records them."""
    specs = []
    for name, kwargs in env_kwargs.get(WRAPPERS) or []:
        made = getattr(gymnasium.wrappers, name)
        specs.append(WrapperSpec(name, f"{made.__module__}:{name}", kwargs))
    return tuple(specs)


def _wrap(recorded: list[Recorded], env: gymnasium.Env) -> gymnasium.Env:
    made = () if env.spec is None else env.spec.additional_wrappers
    own = [(each.name, each.kwargs) for each in made]
    if own == recorded[: len(own)]:  # its entry point brings these
        recorded = recorded[len(own) :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said when the data were logged
        for name, kwargs in recorded:
            arguments = {key: _argument(key, value) for key, value in kwargs.items()}
            env = getattr(gymnasium.wrappers, name)(env, **arguments)
    return env


def _argument(name: str, value: object) -> object:
    """JSON has neither arrays nor tuples."""
    if not isinstance(value, list):
        return value
    return np.array(value, np.float32) if name in _ARRAYS else tuple(value)
