"""Give data that name no environment the preset's, unless they state spaces that are not its."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import gymnasium
import numpy as np

from dt.data.episodes import EpisodeDataset
from dt.data.streams import EpisodeStream
from dt.spaces.environments import EnvKwargs, environment_spaces
from dt.spaces.parts import Parts, facts

Source = TypeVar("Source", EpisodeDataset, EpisodeStream, EpisodeDataset | EpisodeStream)


def in_default_environment(
    opened: Source, default: str | None, env_kwargs: EnvKwargs, reopen: Callable[[str], Source]
) -> Source:
    """Open data anew in the environment `default`, if they leave open what they are from.

    Args:
        reopen: opens the same data in an environment.

    Raises:
        ValueError: where data that state no spaces do not fit the environment.
    """
    if default is None or opened.env_id is not None or opened.unplayable:
        return opened
    if not opened.spaces_inferred:
        stated = opened.observation_space, opened.action_space
        if not _same(stated, environment_spaces(default, env_kwargs)):
            note = f"states other spaces than those of {default}, the preset's environment"
            return replace(opened, unplayable=f"{opened.name} {note}")
    try:
        return reopen(default)
    except ValueError as error:
        raise ValueError(
            f"{error} (the preset's environment, {default}, as the data names none: name it with "
            f"--evaluation.env, or --evaluation.env= if there is none)"
        ) from error


def _same(
    ones: tuple[gymnasium.Space, gymnasium.Space], others: tuple[gymnasium.Space, gymnasium.Space]
) -> bool:
    """Tell whether a policy of the one acts in the other; bounds count of actions alone."""
    if any(facts(one) != facts(other) for one, other in zip(ones, others, strict=True)):
        return False
    own, other = (np.stack(Parts.of(acts, images=False).bounds) for _, acts in (ones, others))
    return bool(np.allclose(own, other))
