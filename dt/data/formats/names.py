"""Understand arrays of steps by names that other libraries give them, and say what was understood.

- obs, act, rew and others in place of observations, actions, rewards; terminals and timeouts in
  place of terminations and truncations.
- dones end episodes. With timeouts beside them (Stable-Baselines3), the others are terminations;
  alone, they do not say which a time limit made, and a note gives the lines that would.
- Rows of several environments side by side, (N, environments, ...), as Stable-Baselines3's replay
  buffers keep them, become one environment's steps after another's; of each, what stands before
  the first and after the last end of a ring that has gone round is left out, and so are rows that
  were never filled.
- Data of goals without rewards (OGBench) have rewards of 0; their terminals end recordings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from dt.words import nearest

SPELLINGS: dict[str, tuple[str, ...]] = {
    "observations": ("observation", "obs", "states", "state"),
    "actions": ("action", "acts", "act"),
    "rewards": ("reward", "rews", "rew"),
    "terminations": ("terminals", "terminal", "terminated", "termination"),
    "truncations": ("timeouts", "timeout", "truncated", "truncation"),
    "dones": ("done",),
    "next_observations": ("next_observation", "next_obs", "next_states", "next_state"),
}
RING = ("pos", "full")  # of a replay buffer: the next row to be written, and whether it went round
OTHERS = frozenset((*SPELLINGS, *RING, *(word for words in SPELLINGS.values() for word in words)))

Arrays = Mapping[str, np.ndarray]


def in_our_words(name: str, arrays: Arrays) -> tuple[dict[str, np.ndarray], list[str]]:
    """Give the arrays our names, with ends for dones, and say in notes what was understood.

    Raises:
        ValueError: naming the arrays of two names for one thing, or of shapes that do not agree.
    """
    found, notes = _renamed(name, arrays)
    without = "rewards" not in found and nearest("rewards", found) is None  # and none misspelt
    if without and {"observations", "actions"} <= found.keys() and _ends(found):
        found, said = _of_goals(found)
        notes += said
    if _side_by_side(found):
        found, said = _one_after_another(name, found)
        notes += said
    if "dones" in found:
        notes += _split_dones(found)
    if "next_observations" in found:
        _keep_finals(found)
    return found, notes


def _renamed(name: str, arrays: Arrays) -> tuple[dict[str, np.ndarray], list[str]]:
    found, renamed = dict(arrays), []
    for ours, spellings in SPELLINGS.items():
        there = [word for word in spellings if word in found]
        if ours in found or not there:
            continue
        if len(there) > 1:
            raise ValueError(
                f"{name}: holds {' and '.join(there)}, both of which may be {ours}; remove one"
            )
        found[ours] = found.pop(there[0])
        renamed.append(f"{there[0]} as {ours}")
    return found, [f"understood: {', '.join(renamed)}"] if renamed else []


def _ends(arrays: Arrays) -> list[str]:
    return [key for key in ("terminations", "truncations", "dones") if key in arrays]


def _of_goals(arrays: Arrays) -> tuple[dict[str, np.ndarray], list[str]]:
    """Recordings without rewards: what ends one is no event of the environment."""
    found = dict(arrays)
    if "truncations" not in found:
        ends = found.pop("terminations", None)
        found["truncations"] = found.pop("dones") if ends is None else ends
    found["rewards"] = np.zeros(len(found["observations"]), np.float32)
    return found, [
        "no rewards: taken as 0, so that there is no return to ask for, and ends as those of "
        "recordings; train with --model.prefix goal, or --model.layout observation-action"
    ]


def _split_dones(found: dict[str, np.ndarray]) -> list[str]:
    dones = found.pop("dones")
    if "episode_lengths" in found or "terminations" in found:
        return []
    dones = dones.astype(bool)
    if "truncations" in found:  # of all ends, those that a time limit made
        if found["truncations"].shape == dones.shape:
            found["terminations"] = dones & ~found["truncations"].astype(bool)
            found["truncations"] = found["truncations"].astype(bool)
        return ["understood: dones without a timeout as terminations"]
    found["terminations"] = dones
    return [
        "dones do not say which of them a time limit made, and are taken as terminations; to say "
        "it: data['truncations'] = data['dones'] & made_by_the_limit; "
        "data['terminations'] = data.pop('dones') & ~data['truncations']"
    ]


def _side_by_side(arrays: Arrays) -> bool:
    rewards, ends = arrays.get("rewards"), _ends(arrays)
    seen = arrays.get("observations")
    if rewards is None or rewards.ndim != 2 or not ends or seen is None or seen.ndim < 3:
        return False
    same = all(arrays[key].shape == rewards.shape for key in ends)
    return same and seen.shape[:2] == rewards.shape and "actions" in arrays and rewards.size > 0


def _one_after_another(name: str, arrays: Arrays) -> tuple[dict[str, np.ndarray], list[str]]:
    """Cut a buffer of (N, environments, ...) into steps in order of time."""
    size, num_envs = arrays["rewards"].shape
    stepwise = {key: value for key, value in arrays.items() if value.shape[:2] == (size, num_envs)}
    found = {key: value for key, value in arrays.items() if key not in (*stepwise, *RING)}
    order, went_round = _order(arrays, size)
    ends = np.logical_or.reduce([arrays[key][order].astype(bool) for key in _ends(arrays)])
    rows: list[np.ndarray] = []
    for number in range(num_envs):
        marks = np.flatnonzero(ends[:, number])
        begin = marks[0] + 1 if went_round and len(marks) else 0
        rows.append(order[begin : marks[-1] + 1 if len(marks) else 0])
    row, env = np.concatenate(rows), np.repeat(np.arange(num_envs), [len(own) for own in rows])
    if not len(row):
        raise ValueError(f"{name}: no episode of {num_envs} environments has an end; log longer")
    left = size * num_envs - len(row)
    said = f"understood: {num_envs} environments side by side, one after another"
    if left:
        said += f"; {left} rows of no whole episode were left out"
    return {**found, **{key: value[row, env] for key, value in stepwise.items()}}, [said]


def _order(arrays: Arrays, size: int) -> tuple[np.ndarray, bool]:
    """The rows that were filled, the oldest first, and whether older ones may be overwritten."""
    pos, full = (arrays[key] if key in arrays else np.zeros(0) for key in RING)
    if pos.size == 1 and 0 <= pos.item() <= size:
        if full.size == 1 and full.item():
            return np.roll(np.arange(size), -int(pos.item())), True
        return np.arange(int(pos.item())), False
    # A buffer that was never full ends in zeros of every kind.
    used = np.zeros(size, bool)
    for key in ("observations", "actions", "rewards", *_ends(arrays)):
        used |= (arrays[key].reshape(size, -1) != 0).any(axis=1)
    return np.arange(np.flatnonzero(used).max(initial=-1) + 1), False


def _keep_finals(found: dict[str, np.ndarray]) -> None:
    """Of the observations that follow, those after the last action of each episode."""
    following = found.pop("next_observations")
    ends = [found[key].astype(bool) for key in ("terminations", "truncations") if key in found]
    known = len(following) == len(found.get("observations", ())) and ends
    if not known or "episode_lengths" in found or "final_observations" in found:
        return
    last = np.logical_or.reduce([each.reshape(-1) for each in ends])
    if len(last) == len(following):
        last[-1] = True  # what is cut off ends there
        found["final_observations"] = following[last]


def named(keys: Iterable[str]) -> set[str]:
    """Find which of our names these keys are."""
    there = set(keys)
    return {ours for ours, words in SPELLINGS.items() if there & {ours, *words}}
