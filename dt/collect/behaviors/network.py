"""Actors kept as plain arrays (`.npz`): small networks, evaluated row by row.

Keys: w0, b0, w1, b1, ... (x @ w.T + b) with `activation` between the layers; optionally
obs_mean, obs_var, clip_obs and eps, which normalise observations first; and `kind`:

- squash: tanh of a Gaussian with the state-dependent log_std_w, log_std_b (SAC, TQC)
- gauss: a Gaussian of log_std, clipped to the space (PPO, A2C, TRPO)
- linear: the number itself clipped to the space, or the largest output's action (ARS)
- cat: softmax over discrete actions (PPO, A2C, TRPO)
- q: the largest output's action (DQN)

The conventions are those of Stable-Baselines3, whose actors these files hold.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium import spaces

from dt.collect.behaviors.acting import Behavior, Generators

Arrays = dict[str, np.ndarray]

ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
}
CONTINUOUS = ("squash", "gauss", "linear")
DISCRETE = ("linear", "cat", "q")
LOG_STD_RANGE = (-20.0, 2.0)  # Stable-Baselines3's, of state-dependent deviations


def network_behavior(
    path: Path,
    arrays: Arrays,
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    deterministic: bool,
) -> Behavior:
    """Make an actor for these spaces.

    Args:
        deterministic: the mean, or the likeliest action, instead of a sample.

    Raises:
        ValueError: naming the file and the key that is missing or does not fit.
    """
    for key, values in arrays.items():
        if key not in ("kind", "activation") and values.dtype.kind not in "biuf":
            raise ValueError(f"{path}: {key} is {values.dtype}; it must be numbers")
    layers = _layers(path, arrays)
    kind, activation = _word(path, arrays, "kind"), _word(path, arrays, "activation")
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"{path}: activation is {activation!r}; this version knows {', '.join(ACTIVATIONS)}"
        )
    if arrays.get("timefeature", np.array(False)).any():
        raise ValueError(f"{path}: reads the time as a feature, which this version does not give")
    _check_spaces(path, layers, kind, observation_space, action_space)
    _check_deviations(path, arrays, layers, kind)
    normalize = _normalizer(path, arrays, layers[0][0].shape[1])
    if isinstance(action_space, spaces.Discrete):
        decide = _discrete(kind, action_space, deterministic)
    else:
        decide = _continuous(kind, arrays, action_space, deterministic)
    between = ACTIVATIONS[activation]

    def act(observations: np.ndarray, rngs: Generators) -> np.ndarray:
        hidden = normalize(observations.reshape(len(observations), -1)).astype(np.float32)
        for weight, bias in layers[:-1]:
            hidden = between(row_matmul(hidden, weight.T) + bias)
        weight, bias = layers[-1]
        return decide(row_matmul(hidden, weight.T) + bias, hidden, rngs)

    return Behavior(f"npz:{path.stem}", act)


def row_matmul(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Multiply rows @ matrix, one product a row.

    A matrix product rounds a row differently in batches of different size, and a simulator
    turns the last bit into another episode.
    """
    return np.matmul(rows[:, None, :], matrix)[:, 0]


def _layers(path: Path, arrays: Arrays) -> list[tuple[np.ndarray, np.ndarray]]:
    layers: list[tuple[np.ndarray, np.ndarray]] = []
    while f"w{len(layers)}" in arrays:
        i = len(layers)
        weight, bias = arrays[f"w{i}"], arrays.get(f"b{i}")
        if weight.ndim != 2 or bias is None or bias.shape not in ((), (len(weight),)):
            raise ValueError(f"{path}: w{i} and b{i} need shapes (outputs, inputs) and (outputs,)")
        if layers and weight.shape[1] != len(layers[-1][0]):
            raise ValueError(
                f"{path}: w{i} reads {weight.shape[1]} numbers, the layer before it has "
                f"{len(layers[-1][0])}"
            )
        layers.append((weight.astype(np.float32), bias.astype(np.float32)))
    if not layers:
        raise ValueError(f"{path}: has no key 'w0', so no actor of ours; it holds {_keys(arrays)}")
    return layers


def _word(path: Path, arrays: Arrays, key: str) -> str:
    if key not in arrays:
        raise ValueError(f"{path}: has no key {key!r}; it holds {_keys(arrays)}")
    return str(arrays[key])


def _keys(arrays: Arrays) -> str:
    return ", ".join(sorted(arrays))


def _check_spaces(
    path: Path,
    layers: list[tuple[np.ndarray, np.ndarray]],
    kind: str,
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
) -> None:
    num_inputs, num_outputs = layers[0][0].shape[1], len(layers[-1][0])
    observed = int(np.prod(observation_space.shape or ()))
    if not isinstance(observation_space, spaces.Box) or observed != num_inputs:
        raise ValueError(
            f"{path}: reads observations of {num_inputs} numbers, but the environment's are "
            f"{observation_space}"
        )
    if isinstance(action_space, spaces.Discrete):
        fits, kinds = int(action_space.n) == num_outputs, DISCRETE
    else:
        fits = isinstance(action_space, spaces.Box) and action_space.shape == (num_outputs,)
        kinds = CONTINUOUS
    if not fits or kind not in kinds:
        raise ValueError(
            f"{path}: has {num_outputs} outputs of kind {kind!r}, but the environment's actions "
            f"are {action_space}, which need one of {', '.join(kinds)}"
        )


def _check_deviations(
    path: Path, arrays: Arrays, layers: list[tuple[np.ndarray, np.ndarray]], kind: str
) -> None:
    num_outputs, num_hidden = layers[-1][0].shape
    needed: dict[str, tuple[int, ...]] = {}
    if kind == "squash":
        needed = {"log_std_w": (num_outputs, num_hidden), "log_std_b": (num_outputs,)}
    elif kind == "gauss":
        needed = {"log_std": (num_outputs,)}
    for key, shape in needed.items():
        if key not in arrays or arrays[key].shape != shape:
            raise ValueError(f"{path}: kind {kind!r} needs {key} of shape {shape}")


def _normalizer(path: Path, arrays: Arrays, size: int) -> Callable[[np.ndarray], np.ndarray]:
    if "obs_mean" not in arrays:
        return lambda observations: observations
    for key, shape in (("obs_mean", (size,)), ("obs_var", (size,)), ("clip_obs", ()), ("eps", ())):
        if key not in arrays or arrays[key].shape != shape:
            raise ValueError(f"{path}: normalised observations need {key} of shape {shape}")
    mean, clip = arrays["obs_mean"], float(arrays["clip_obs"])
    scale = np.sqrt(arrays["obs_var"] + float(arrays["eps"]))
    return lambda observations: np.clip((observations - mean) / scale, -clip, clip)


Decide = Callable[[np.ndarray, np.ndarray, Generators], np.ndarray]


def _continuous(kind: str, arrays: Arrays, space: gymnasium.Space, deterministic: bool) -> Decide:
    assert isinstance(space, spaces.Box)
    heads = {k: v.astype(np.float32) for k, v in arrays.items() if k.startswith("log_std")}

    def sample(mean: np.ndarray, log_std: np.ndarray, rngs: Generators) -> np.ndarray:
        if deterministic:
            return mean
        drawn = np.stack([rng.standard_normal(mean.shape[1], np.float32) for rng in rngs])
        return mean + np.exp(log_std) * drawn

    def decide(mean: np.ndarray, hidden: np.ndarray, rngs: Generators) -> np.ndarray:
        _check_finite(kind, mean)
        if kind == "squash":
            log_std = row_matmul(hidden, heads["log_std_w"].T) + heads["log_std_b"]
            squashed = np.tanh(sample(mean, np.clip(log_std, *LOG_STD_RANGE), rngs))
            mean = space.low + (squashed + 1) / 2 * (space.high - space.low)
        elif kind == "gauss":
            mean = sample(mean, heads["log_std"], rngs)
        return np.clip(mean, space.low, space.high).astype(space.dtype)

    return decide


def _check_finite(kind: str, outputs: np.ndarray) -> None:
    if not np.isfinite(outputs).all():
        raise ValueError(f"an actor of kind {kind!r} computes NaN or infinity for its actions")


def _discrete(kind: str, space: spaces.Discrete, deterministic: bool) -> Decide:
    def decide(outputs: np.ndarray, hidden: np.ndarray, rngs: Generators) -> np.ndarray:
        _check_finite(kind, outputs)
        if kind == "cat" and not deterministic:
            choices = sample_logits(outputs, rngs)
        else:
            choices = outputs.argmax(axis=1)
        return choices.astype(np.int64) + space.start

    return decide


def sample_logits(logits: np.ndarray, rngs: Generators) -> np.ndarray:
    """Draw from each row's softmax, by the inverse of its distribution function."""
    weights = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    below = np.cumsum(weights, axis=1)
    drawn = np.array([rng.random() for rng in rngs]) * below[:, -1]
    return np.minimum((below <= drawn[:, None]).sum(axis=1), logits.shape[1] - 1)
