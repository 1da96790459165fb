"""Check options against the bounds that stand on their fields, and say which one is out of them."""

from __future__ import annotations

import dataclasses
import math
import operator
from functools import cache
from typing import TYPE_CHECKING, Annotated, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Interval, Le, Lt

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Limit = Ge | Gt | Le | Lt

# Bounds that several options have: `num_layers: Count = 3`.
Count = Annotated[int, Ge(1)]
CountOrNone = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Interval(gt=0, le=1)]
BelowOne = Annotated[float, Interval(ge=0, lt=1)]
Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]

_HOLDS = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}


def require(holds: bool, name: str, value: object, needed: str) -> None:
    """Refuse a value unless the condition holds.

    Raises:
        ValueError: naming the option, its value and what it must be.
    """
    if not holds:
        raise ValueError(f"{name} is {value}; it must be {needed}")


def check_bounds(config: DataclassInstance, prefix: str = "") -> None:
    """Check the numbers of a dataclass against the bounds that their annotations give.

    Args:
        prefix: what stands before the fields' names, such as "model.".

    Raises:
        ValueError: naming the first field that is out of its bounds.
    """
    for name, limits, several in _bounded_fields(type(config)):
        value = getattr(config, name)
        holds = all(
            _HOLDS[side](item, limit)
            for item in (value if several else (value,))
            for side, limit in limits.items()
        )
        needed = f"each {_describe(limits)}" if several else _describe(limits)
        require(holds, f"{prefix}{name}", value, needed)


def check_finite(config: DataclassInstance, prefix: str = "") -> None:
    """Check that every number of a dataclass, and of those within it, is finite.

    All but a norm to clip at, of which infinity is the one that never does.

    Raises:
        ValueError: naming the first field that is not.
    """
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            check_finite(value, f"{name}.")
        elif isinstance(value, float) and field.name != "clip_norm":
            require(math.isfinite(value), name, value, "a finite number")


@cache
def _bounded_fields(
    kind: type[DataclassInstance],
) -> list[tuple[str, dict[str, float], bool]]:
    """List the fields with bounds, these by their side, and whether they are of each of several."""
    hints = get_type_hints(kind, include_extras=True)
    found = []
    for field in dataclasses.fields(kind):
        several = get_origin(hints[field.name]) is tuple
        hint = get_args(hints[field.name])[0] if several else hints[field.name]
        limits = {}
        for each in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
            for limit in each if isinstance(each, Interval) else (each,):
                if isinstance(limit, Limit):
                    limits.update(dataclasses.asdict(limit))
        if limits:
            found.append((field.name, limits, several))
    return found


def _describe(limits: dict[str, float]) -> str:
    match limits:
        case {"ge": low, "le": high}:
            return f"from {_number(low)} to {_number(high)}"
        case {"ge": low, "lt": high}:
            return f"in [{_number(low)}, {_number(high)})"
        case {"gt": low, "le": high}:
            return f"above {_number(low)} and at most {_number(high)}"
        case {"gt": low, "lt": high}:
            return f"between {_number(low)} and {_number(high)}"
        case {"gt": low}:
            return f"above {_number(low)}"
        case {"ge": 0}:
            return "0 or more"
        case {"ge": low}:
            return f"at least {_number(low)}"
    raise AssertionError(f"no words for the bounds {limits}")


def _number(value: float) -> str:
    """Write a limit; the largest number of so many bits as people know it."""
    bits = int(value + 1).bit_length() - 1
    return f"2^{bits} - 1" if bits >= 16 and value + 1 == 2**bits else f"{value:g}"
