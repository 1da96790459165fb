"""Make the vector environments that episodes are played in, by their Gymnasium id."""

from __future__ import annotations

import multiprocessing
import os
from typing import Any, Literal

import gymnasium
from gymnasium.vector import AutoresetMode, VectorEnv

from dt.spaces.environments import EnvKwargs, has_own_rows, making
from dt.spaces.wrappers import WRAPPERS, without_wrappers, wrapping

Vectorization = Literal["auto", "sync", "async"]

WORTH_TURNS = 16  # rows; half of fewer are computed in no time


def make_groups(
    env_id: str,
    num_envs: int,
    env_kwargs: EnvKwargs | None = None,
    vectorization: Vectorization = "auto",
) -> list[VectorEnv]:
    """Make environments as `make_envs` does, at least as many, in two groups for `play_in_turns`.

    One group where rows are too few to be worth it, and where environments step on threads of their
    own, which would only get in the way of what computes the actions.
    """
    own = vectorization == "auto" and has_own_rows(env_id, env_kwargs or {})
    groups = 1 if own or num_envs < WORTH_TURNS else 2
    size = -(-num_envs // groups)  # the same for both: one compiled program
    return [make_envs(env_id, size, env_kwargs, vectorization) for _ in range(groups)]


def make_envs(
    env_id: str,
    num_envs: int,
    env_kwargs: EnvKwargs | None = None,
    vectorization: Vectorization = "auto",
) -> VectorEnv:
    """Make vector environments that are reset by hand.

    Args:
        vectorization: sync, one after the other in this process; async, a process a row, by
            `forkserver` since JAX's threads do not outlive a fork; auto, the id's own vector
            environment where that can be reset by hand, else sync.

    Raises:
        ValueError: when Gymnasium cannot make the environment, with its reason.
    """
    disabled: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED}
    kwargs = dict(env_kwargs or {})
    with making(env_id):
        if vectorization == "auto" and has_own_rows(env_id, kwargs):
            return gymnasium.make_vec(
                env_id,
                num_envs=num_envs,
                vectorization_mode="vector_entry_point",
                **disabled,
                **kwargs,
            )
        processes: dict[str, Any] = {}
        if vectorization == "async":
            # Imported once, where the rows' processes come from, instead of in each of them.
            multiprocessing.get_context("forkserver").set_forkserver_preload(["gymnasium"])
            processes = {"context": "forkserver", "max_concurrency": os.cpu_count()}
        return gymnasium.make_vec(
            env_id,
            num_envs=num_envs,
            vectorization_mode="async" if processes else "sync",
            vector_kwargs=disabled | processes,
            wrappers=[wrapping(kwargs)] if WRAPPERS in kwargs else None,
            **without_wrappers(kwargs),
        )
