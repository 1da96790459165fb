"""What a policy is given in place of a bare target, and for which policy that was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from dt.acting.options import ActingOptions


class Inputs(NamedTuple):
    """What a policy is given that wanted returns come about, a row an episode."""

    requests: Float[np.ndarray, " B"]  # returns to ask for, in the units of targets
    guidance: Float[np.ndarray, "B 3"] | None  # ActingOptions.guidance_numbers; None: the policy's


def refuse_other_policy(
    measured: Mapping[str, Any], options: ActingOptions, step: int, file: str, again: str
) -> None:
    """Refuse what was measured on another policy.

    Args:
        measured: the checkpoint_step and the card's entries that count.
        options, step: the policy's.
        file: what was measured, in words.
        again: how to measure anew.

    Raises:
        ValueError: naming what differs.
    """
    have = {"checkpoint_step": step, **options.to_card()}
    for name, value in measured.items():
        if have.get(name) != value:
            raise ValueError(
                f"{file} on a policy whose {name} is {value}, this one's is {have.get(name)}; "
                f"{again}"
            )


def refuse_other_environment(
    measured: tuple[str, dict[str, Any]], here: tuple[str, dict[str, Any]], file: str, again: str
) -> None:
    """Refuse what was measured in another environment; ids come with their arguments.

    Raises:
        ValueError: naming both.
    """
    if measured != here:
        there, this = (f"{name} {kwargs}" if kwargs else name for name, kwargs in (measured, here))
        raise ValueError(f"{file} in {there}, not in {this}; {again} --env {here[0]}")
