"""Write a policy's spec as JSON, and read it back: the content of a checkpoint's spec.json."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias

import numpy as np

from dt.config import ModelConfig
from dt.data.reference import Reference
from dt.data.summary import DatasetSummary
from dt.data.transforms import Transforms
from dt.files import structured
from dt.spaces.environments import logged_kwargs
from dt.spaces.text import space_from_text, space_to_text
from dt.spec.exemplars import Exemplars
from dt.spec.normalizer import Normalizer
from dt.spec.spec import PolicySpec

Json: TypeAlias = dict[str, Any]

PLAIN, FORMAT = 3, 4
# Format 2 had the columns of queries, keys and values of several heads in another order; format 3
# has no origins, and is written still where there is none.
READABLE = {2: 1, PLAIN: 2**31, FORMAT: 2**31}  # each with the most heads


def spec_to_json(spec: PolicySpec) -> Json:
    """Write a spec as what `json` can write."""
    units = (spec.observation_normalizer, spec.action_normalizer)
    guided = {} if spec.guidance is None else {"guidance": list(spec.guidance)}
    return {
        **guided,
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


def spec_from_json(values: Json) -> PolicySpec:
    """Read what `spec_to_json` wrote.

    Raises:
        ValueError: for a format that only another version of this package reads, and for what
            describes no environment.
    """
    if (
        values["format"] not in READABLE
        or values["model"]["num_heads"] > READABLE[values["format"]]
    ):
        raise ValueError(
            f"spec.json has format {values['format']}, this code reads {FORMAT}; "
            f"use the version of dt that wrote it"
        )
    edges = values["action_edges"]
    return PolicySpec(
        model=structured(ModelConfig, values["model"], "model"),
        observation_space=space_from_text(values["observation_space"]),
        action_space=space_from_text(values["action_space"]),
        observation_normalizer=_normalizer_from_json(values["observation_normalizer"]),
        return_normalizer=_normalizer_from_json(values["return_normalizer"]),
        action_normalizer=_normalizer_from_json(values["action_normalizer"]),
        return_range=tuple(values["return_range"]),
        max_timesteps=values["max_timesteps"],
        dataset=structured(DatasetSummary, values["dataset"], "dataset"),
        env_id=_id_from_json(values["env_id"]),
        env_kwargs=logged_kwargs(values["env_kwargs"]),
        reference=values["reference"] and structured(Reference, values["reference"], "reference"),
        transforms=structured(Transforms, values["transforms"], "transforms"),
        action_edges=None if edges is None else np.asarray(edges, np.float32),
        guidance=_guidance_from_json(values.get("guidance")),
        exemplars=Exemplars.from_text(values["exemplars"]) if values.get("exemplars") else None,
    )


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


def _normalizer_from_json(values: Json) -> Normalizer:
    mean, scale = (np.asarray(values[key], np.float32) for key in ("mean", "scale"))
    origin = np.asarray(values["origin"], np.float64) if "origin" in values else None
    return Normalizer(mean, scale, origin)
