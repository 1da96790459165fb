"""Environments of our own, the data sets that presets make for themselves, scripted players.

In a wheel this folder is the package `dt_envs`, as a user may well have an `envs` of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import gymnasium

from dt.collect.behaviors.sources import Player
from dt.data import EpisodeDataset

from .cartpole import cartpole_player, collect_cartpole

# Gymnasium's tasks that get a vector entry point here, having none: rows on MuJoCo's threads.
THREADED = (
    *("Hopper-v4", "Hopper-v5", "Walker2d-v4", "Walker2d-v5"),
    *("HalfCheetah-v4", "HalfCheetah-v5", "Ant-v4", "Ant-v5"),
)
for _spec in map(gymnasium.spec, THREADED):
    _class = f"{_spec.name}V{_spec.version}"
    _spec.vector_entry_point = _spec.vector_entry_point or f"{__name__}.mujoco_threads:{_class}"

if "Gamble-v0" not in gymnasium.registry:  # this folder may be imported by two names
    gymnasium.register("Gamble-v0", entry_point=f"{__name__}.gamble:Gamble")
    gymnasium.register("VotedSentences-v0", entry_point=f"{__name__}.sentences:Sentences")

if find_spec("ale_py") is not None:  # the extra `atari`
    from .atari import register_atari

    register_atari()

DEMOS: dict[str, Callable[[], EpisodeDataset]] = {"demo:cartpole": collect_cartpole}
# Who plays for `collect.py --policy scripted:NAME`.
PLAYERS: dict[str, Player] = {"cartpole": cartpole_player}


def load_demo(source: str) -> EpisodeDataset:
    """The data set of a `demo:` source, made here and now, the same every time.

    Raises:
        ValueError: when there is no such demo.
    """
    if source not in DEMOS:
        raise ValueError(f"--data {source}: no such demo; there is {', '.join(DEMOS)}")
    return DEMOS[source]()
