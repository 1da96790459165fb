"""Environments of our own, and the data sets that the presets make for themselves."""

from __future__ import annotations

from collections.abc import Callable

from dt.data import EpisodeDataset
from envs.cartpole import collect_cartpole

DEMOS: dict[str, Callable[[], EpisodeDataset]] = {"demo:cartpole": collect_cartpole}


def load_demo(source: str) -> EpisodeDataset:
    """The data set of a `demo:` source, made here and now, the same every time.

    Raises:
        ValueError: when there is no such demo.
    """
    if source not in DEMOS:
        raise ValueError(f"--data {source}: no such demo; there is {', '.join(DEMOS)}")
    return DEMOS[source]()
