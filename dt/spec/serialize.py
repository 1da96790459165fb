"""Write a policy's spec as JSON, and read it back: the content of a checkpoint's spec.json."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike

from dt.config import ModelConfig
from dt.config.language_model import LanguageModelConfig
from dt.data.reference import Reference
from dt.data.summary import DatasetSummary
from dt.data.transforms import Transforms
from dt.files import structured
from dt.spaces.environments import MOST_STEPS, logged_kwargs
from dt.spaces.text import space_from_text, space_to_text
from dt.spec.exemplars import Exemplars
from dt.spec.normalizer import Normalizer
from dt.spec.spec import PolicySpec

Json: TypeAlias = dict[str, Any]

PLAIN, FORMAT = 3, 4
# Format 2 had the columns of queries, keys and values of several heads in another order; format 3
# has no origins, and is written still where there is none.
MOST_SOFT = 4096  # vectors before all tokens
READABLE = {2: 1, PLAIN: 2**31, FORMAT: 2**31}  # each with the most heads


FIELDS = (
    *("model observation_space action_space observation_normalizer return_normalizer".split()),
    *("action_normalizer return_range max_timesteps dataset env_id env_kwargs".split()),
    *("reference transforms action_edges".split()),
)


@dataclass(frozen=True)
class _Units:
    """A normalizer's numbers, in lists or alone."""

    mean: Any
    scale: Any
    origin: Any = None


@runtime_checkable
class Spec(Protocol):
    """What a checkpoint holds of a model besides its weights."""

    @property
    def model(self) -> ModelConfig | LanguageModelConfig: ...


@singledispatch
def spec_to_json(spec: Spec) -> Json:
    """Write a spec as what `json` can write; each kind registers how."""
    raise TypeError(f"{type(spec).__name__} is no spec that is known here")


@spec_to_json.register
def _policy_to_json(spec: PolicySpec) -> Json:
    units = (spec.observation_normalizer, spec.action_normalizer)
    guided = {} if spec.guidance is None else {"guidance": list(spec.guidance)}
    soft = {"num_soft": spec.num_soft} if spec.num_soft else {}
    return {
        **guided,
        **soft,
        "format": PLAIN if all(each.origin is None for each in units) else FORMAT,
        "model": dataclasses.asdict(spec.model),
        "observation_space": space_to_text(spec.observation_space),
        "action_space": space_to_text(spec.action_space),
        "observation_normalizer": _normalizer_to_json(spec.observation_normalizer),
        "return_normalizer": _normalizer_to_json(spec.return_normalizer),
        "action_normalizer": _normalizer_to_json(spec.action_normalizer),
        "return_range": list(spec.return_range),
        "max_timesteps": spec.max_timesteps,
        "dataset": dataclasses.asdict(spec.dataset),
        "env_id": spec.env_id,
        "env_kwargs": spec.env_kwargs,
        "reference": spec.reference and dataclasses.asdict(spec.reference),
        "transforms": dataclasses.asdict(spec.transforms),
        "action_edges": None if spec.action_edges is None else spec.action_edges.tolist(),
        "exemplars": None if spec.exemplars is None else spec.exemplars.to_text(),
    }


def spec_from_json(values: object) -> PolicySpec:
    """Read what `spec_to_json` wrote.

    Raises:
        ValueError: for a format that only another version of this package reads, and for a field
            that is missing, of another type, or does not fit the others.
    """
    if not isinstance(values, dict) or type(values.get("format")) is not int:
        raise ValueError("spec.json is none of ours; it has no format")
    missing = [name for name in FIELDS if name not in values]
    if missing:
        raise ValueError(f"spec.json has no {missing[0]}")
    model = structured(ModelConfig, values["model"], "model")
    if values["format"] not in READABLE or model.num_heads > READABLE[values["format"]]:
        raise ValueError(
            f"spec.json has format {values['format']}, this code reads {FORMAT}; "
            f"use the version of dt that wrote it"
        )
    edges = values["action_edges"]
    spec = PolicySpec(
        model=model,
        observation_space=space_from_text(values["observation_space"]),
        action_space=space_from_text(values["action_space"]),
        observation_normalizer=_normalizer_from_json(values, "observation_normalizer"),
        return_normalizer=_normalizer_from_json(values, "return_normalizer"),
        action_normalizer=_normalizer_from_json(values, "action_normalizer"),
        return_range=_range(values["return_range"]),
        max_timesteps=structured(int, values["max_timesteps"], "max_timesteps"),
        dataset=structured(DatasetSummary, values["dataset"], "dataset"),
        env_id=_id_from_json(values["env_id"]),
        env_kwargs=logged_kwargs(values["env_kwargs"]),
        reference=values["reference"] and structured(Reference, values["reference"], "reference"),
        transforms=structured(Transforms, values["transforms"], "transforms"),
        action_edges=None if edges is None else _finite("action_edges", edges),
        guidance=_guidance_from_json(values.get("guidance")),
        num_soft=structured(int, values.get("num_soft", 0), "num_soft"),
        exemplars=Exemplars.from_text(values["exemplars"]) if values.get("exemplars") else None,
    )
    _check(spec)
    return spec


def _check(spec: PolicySpec) -> None:
    """Refuse units that do not fit the spaces, and limits that no episode has."""
    shapes = {
        "observation_normalizer": (spec.observation_normalizer, spec.observation_dim),
        "action_normalizer": (spec.action_normalizer, spec.action_dim),
    }
    for name, (normalizer, size) in shapes.items():
        if normalizer.mean.shape != (size,) or normalizer.scale.shape != (size,):
            raise ValueError(f"{name} is not of the {size} numbers that the space has")
        if normalizer.origin is not None and normalizer.origin.shape != (size,):
            raise ValueError(f"{name}.origin is not of the {size} numbers that the space has")
    if spec.return_normalizer.mean.shape or spec.return_normalizer.scale.shape:
        raise ValueError("return_normalizer is not of one number")
    low, high = spec.return_range
    if not low <= high:
        raise ValueError(f"return_range is {low} to {high}; it must rise")
    if not 1 <= spec.max_timesteps <= MOST_STEPS:
        raise ValueError(f"max_timesteps is {spec.max_timesteps}; it must be 1 to {MOST_STEPS}")
    if not 0 <= spec.num_soft <= MOST_SOFT:
        raise ValueError(f"num_soft is {spec.num_soft}; it must be 0 to {MOST_SOFT}")
    edges = spec.action_edges
    if edges is not None and edges.shape != (spec.action_dim, spec.model.num_bins + 1):
        raise ValueError(f"action_edges has shape {edges.shape}, which does not fit the model")


def _id_from_json(value: object) -> str | None:
    if not isinstance(value, str | None):
        raise ValueError(f"spec.json has env_id {str(value)[:80]!r}; it needs a text or null")
    return value


def _guidance_from_json(values: object) -> tuple[float, float] | None:
    if values is None:
        return None
    match values:
        case [int() | float() as weight, int() | float() as enough] if 0 <= weight < float(
            "inf"
        ) and 0 <= enough < float("inf"):
            return float(weight), float(enough)
    raise ValueError(
        f"spec.json has guidance {str(values)[:80]}; it needs two finite weights, 0 or more"
    )


def _normalizer_to_json(normalizer: Normalizer) -> Json:
    written = {"mean": normalizer.mean.tolist(), "scale": normalizer.scale.tolist()}
    if normalizer.origin is not None:
        written["origin"] = normalizer.origin.tolist()
    return written


def _normalizer_from_json(values: Json, name: str) -> Normalizer:
    read = structured(_Units, values[name], name)
    mean, scale = (_finite(f"{name}.{key}", getattr(read, key)) for key in ("mean", "scale"))
    if not (scale > 0).all():
        raise ValueError(f"{name}.scale must be above 0")
    if read.origin is None:
        return Normalizer(mean, scale)
    return Normalizer(mean, scale, _finite(f"{name}.origin", read.origin, np.float64))


def _range(values: object) -> tuple[float, float]:
    ends = _finite("return_range", values, np.float64)
    if ends.shape != (2,):
        raise ValueError("return_range is not of two numbers")
    return float(ends[0]), float(ends[1])


def _finite(name: str, numbers: object, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Make an array of numbers, or lists of them, every one of which must be finite in its type."""
    try:
        with np.errstate(over="ignore"):
            array = np.asarray(numbers, np.float64).astype(dtype)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{name} is no array of numbers") from None
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds a number that is not finite")
    return array
