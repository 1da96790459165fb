"""Load the behavior that a word such as `random` or `npz:FILE` names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import gymnasium
import numpy as np

from dt.collect.behaviors.acting import Behavior, random_behavior
from dt.collect.behaviors.atari import atari_behavior, is_atari
from dt.collect.behaviors.network import network_behavior
from dt.collect.behaviors.own import own_behavior
from dt.data.formats.npz import check_arrays
from dt.files import first_line, reading, sha256_of, shown

if TYPE_CHECKING:
    from dt.acting.options import PastEnd  # JAX, which others do not need

FORMS = "random, scripted:NAME, npz:FILE, sb3:FILE.zip, run:RUN_DIR@TARGET or MODULE:NAME"
KINDS = ("random", "scripted", "npz", "sb3", "run")  # which no module of one's own is called

# (observation space, action space, deterministic) -> who acts
Player = Callable[[gymnasium.Space, gymnasium.Space, bool], Behavior]


def load_behavior(
    word: str,
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    *,
    deterministic: bool = False,
    past_end: PastEnd = "error",
    players: Mapping[str, Player],
) -> Behavior:
    """Load what acts for this word in an environment of these spaces.

    Args:
        deterministic: the mean or the likeliest action instead of a sample, where there is one.
        past_end: what a trained run does past the longest timestep that its model knows.
        players: the scripted ones, by name.

    Raises:
        ValueError: naming the word, or the file, and what is wrong with it.
    """
    kind, _, rest = word.partition(":")
    how = (observation_space, action_space, deterministic)
    if word == "random":
        return random_behavior(action_space)
    if kind == "scripted" and rest in players:
        return players[rest](*how)
    if kind == "scripted":
        raise ValueError(f"--policy {word}: no such player; there is {', '.join(players)}")
    if kind == "npz" and rest:
        path = _existing(word, rest)
        arrays = _arrays(path)
        actor = atari_behavior if is_atari(arrays) else network_behavior
        with reading(path):
            return replace(actor(path, arrays, *how), content=sha256_of(path))
    if kind == "sb3" and rest:
        from dt.collect.behaviors.sb3 import sb3_behavior

        path = _existing(word, rest)
        return replace(sb3_behavior(path, *how), content=sha256_of(path))
    run_dir, at, target = rest.rpartition("@")
    if kind == "run" and run_dir and target:
        from dt.collect.behaviors.steered import steered_behavior  # JAX, which others do not need

        return steered_behavior(Path(os.path.expanduser(run_dir)), target, *how, past_end)
    if kind not in KINDS and kind and rest.isidentifier():
        return own_behavior(word, observation_space, action_space)
    raise ValueError(f"--policy {word!r} is none of {FORMS}")


def _existing(word: str, name: str) -> Path:
    path = Path(os.path.expanduser(name))
    if not path.is_file():
        raise ValueError(f"--policy {word}: there is no file {path}")
    return path


def _arrays(path: Path) -> dict[str, np.ndarray]:
    check_arrays(str(path), path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except Exception as error:  # a damaged file can break NumPy's reader in many ways
        reason = shown(first_line(error))
        raise ValueError(f"{path}: not a readable npz of plain arrays ({reason})") from error
    for key, values in arrays.items():
        if values.dtype.kind == "c":
            raise ValueError(f"{path}: {key} are complex numbers; save real ones")
        with np.errstate(over="ignore"):
            single = values.astype(np.float32) if values.dtype.kind == "f" else np.zeros(())
        if not np.isfinite(single).all():
            raise ValueError(
                f"{path}: {key} holds NaN or infinity (as float32), and no action can be computed; "
                f"save the actor again from weights that are sound"
            )
    return arrays
