"""Write a space as a line of JSON, and read it back."""

from __future__ import annotations

import json
import math
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces

from dt.files import first_line, shown
from dt.spaces.parts import MOST_NUMBERS

Json: TypeAlias = dict[str, Any]


def space_to_text(space: gymnasium.Space) -> str:
    """Write a space as Minari's JSON, with the integer types of Discrete ones."""
    from minari.serialization import serialize_space  # an import that most readers skip

    def with_types(part: gymnasium.Space, facts: Json) -> Json:
        if isinstance(part, spaces.Dict):
            inner = facts["subspaces"]
            subspaces = {key: with_types(part[key], inner[key]) for key in inner}
            return {**facts, "subspaces": subspaces}
        if isinstance(part, spaces.Tuple):
            pairs = zip(part.spaces, facts["subspaces"], strict=True)
            return {**facts, "subspaces": [with_types(*pair) for pair in pairs]}
        return {**facts, "dtype": str(part.dtype)} if isinstance(part, spaces.Discrete) else facts

    return json.dumps(with_types(space, json.loads(serialize_space(space))))


def space_from_text(text: str) -> gymnasium.Space:
    """Make the space that `space_to_text` wrote, or Minari.

    Raises:
        ValueError: for any other text, which may be of any depth and name any numbers.
    """
    from minari.serialization import deserialize_space

    def read(facts: Json) -> gymnasium.Space:
        if facts["type"] == "Dict":
            return spaces.Dict({key: read(part) for key, part in facts["subspaces"].items()})
        if facts["type"] == "Tuple":
            return spaces.Tuple([read(part) for part in facts["subspaces"]])
        if facts["type"] == "Box":
            size = math.prod(facts["shape"])
            for bound in ("low", "high"):  # written number by number
                if not 0 <= size <= MOST_NUMBERS or np.size(facts[bound]) != size:
                    raise ValueError(f"a Box of shape {facts['shape']} has not its {size} bounds")
        space = deserialize_space(facts)
        if isinstance(space, spaces.Discrete):
            dtype = np.dtype(facts.get("dtype", "int64")).type
            return spaces.Discrete(space.n, start=space.start, dtype=dtype)
        return space

    try:
        with np.errstate(all="ignore"):  # bounds that their type does not hold
            return read(json.loads(text))
    except Exception as error:  # Gymnasium's spaces raise many kinds for what they are not made of
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ValueError(f"is no space ({shown(reason)[:200]})") from error
