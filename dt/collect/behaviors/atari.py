"""Atari actors kept as plain arrays (`.npz`): recurrent networks that watch the screen.

Four 3x3 convolutions of stride 2 with ELU, a GRU (both with PyTorch's conventions) and a linear
layer over actions. Keys: conv1.weight, conv1.bias, ... conv4.bias, gru.weight_ih, gru.weight_hh,
gru.bias_ih, gru.bias_hh, actor_linear.weight and actor_linear.bias.

What it sees is the screen from row 35 to 195: the mean over colour, stretched to 0..255, made
half as large (as Pillow's bilinear filter does, to the last bit), and divided by 255.
"""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float, UInt8

from dt.collect.behaviors.acting import Behavior, Generators
from dt.collect.behaviors.network import row_matmul, sample_logits

SCREEN = (210, 160, 3)
TOP, BOTTOM = 35, 195
NUM_CONVOLUTIONS, CHANNELS, NUM_HIDDEN = 4, 32, 256


def is_atari(arrays: dict[str, np.ndarray]) -> bool:
    """Tell whether these arrays are such an actor's, or meant to be."""
    return "conv1.weight" in arrays and "gru.weight_ih" in arrays


def atari_behavior(
    path: Path,
    arrays: dict[str, np.ndarray],
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    deterministic: bool,
) -> Behavior:
    """Make an actor that looks at observations where they are screens, else at what is rendered.

    Raises:
        ValueError: naming the file and the key that is missing or does not fit.
    """
    _check(path, arrays, action_space)
    assert isinstance(action_space, spaces.Discrete)
    first = action_space.start
    actor = ScreenActor(arrays)

    def act(screens: np.ndarray, rngs: Generators) -> np.ndarray:
        logits = actor.logits(half_screens(screens.reshape(-1, *SCREEN)))
        choices = logits.argmax(axis=1) if deterministic else sample_logits(logits, rngs)
        return choices.astype(np.int64) + first

    # A vector environment may stack screens; one of them, not stacked, is a screen still.
    seen = observation_space.shape in (SCREEN, (1, *SCREEN))
    return Behavior(f"npz:{path.stem}", act, actor.start, watches=not seen)


class ScreenActor:
    """The network, and what each row remembers of its episode."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        weights = {key: value.astype(np.float32) for key, value in arrays.items()}
        names = [f"conv{i + 1}" for i in range(NUM_CONVOLUTIONS)]
        self.kernels = [
            weights[f"{name}.weight"].transpose(2, 3, 1, 0).reshape(-1, CHANNELS) for name in names
        ]
        self.kernel_biases = [weights[f"{name}.bias"] for name in names]
        self.inputs, self.input_bias = weights["gru.weight_ih"].T, weights["gru.bias_ih"]
        self.recurrent, self.recurrent_bias = weights["gru.weight_hh"].T, weights["gru.bias_hh"]
        self.actor, self.actor_bias = weights["actor_linear.weight"].T, weights["actor_linear.bias"]

    def start(self, rows: np.ndarray, rngs: Generators) -> None:
        if rows.all():
            self.hidden: np.ndarray = np.zeros((len(rows), NUM_HIDDEN), np.float32)
        self.hidden[rows] = 0

    def logits(self, images: Float[np.ndarray, "B 80 80"]) -> Float[np.ndarray, "B A"]:
        """Compute the logits of this step's actions; the next call is the next step."""
        maps = images[..., None]  # (B, height, width, channels)
        for kernel, bias in zip(self.kernels, self.kernel_biases, strict=True):
            maps = _elu(_convolve(maps, kernel) + bias)
        flat = maps.transpose(0, 3, 1, 2).reshape(len(maps), -1)  # as the actor's maker had it
        seen = row_matmul(flat, self.inputs) + self.input_bias
        past = row_matmul(self.hidden, self.recurrent) + self.recurrent_bias
        gates = seen[:, : 2 * NUM_HIDDEN] + past[:, : 2 * NUM_HIDDEN]
        reset, keep = np.split((1 + np.tanh(gates / 2)) / 2, 2, axis=1)  # the logistic function
        new = np.tanh(seen[:, 2 * NUM_HIDDEN :] + reset * past[:, 2 * NUM_HIDDEN :])
        self.hidden = (1 - keep) * new + keep * self.hidden
        return row_matmul(self.hidden, self.actor) + self.actor_bias


def half_screens(screens: UInt8[np.ndarray, "B 210 160 3"]) -> Float[np.ndarray, "B 80 80"]:
    """Reduce screens to what the actor sees of them, 0 to 1."""
    red, green, blue = np.moveaxis(screens[:, TOP:BOTTOM], 3, 0)
    grey = red.astype(np.float32) + green + blue  # (B, 160, 160), three times the mean
    low, high = grey.min(axis=(1, 2), keepdims=True), grey.max(axis=(1, 2), keepdims=True)
    stretched = _round((grey - low) * (255 / np.where(high > low, high - low, 1)))
    across = _round(np.matmul(stretched, _HALVE.T))  # rounded in between, as Pillow does
    return _round(np.matmul(_HALVE, across)) / 255


def _round(x: np.ndarray) -> np.ndarray:
    return np.floor(x + np.float32(0.5))


def _halving() -> np.ndarray:
    """Make the matrix 160 -> 80 of a triangle over four neighbours that is cut at the edge."""
    weights = np.zeros((80, 162))
    for i in range(80):
        weights[i, 2 * i : 2 * i + 4] = 1, 3, 3, 1
    inside = weights[:, 1:-1]
    return (inside / inside.sum(axis=1, keepdims=True)).astype(np.float32)


_HALVE = _halving()


def _convolve(maps: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve 3x3 with stride 2, zeros around; kernel is (9 * channels in, channels out)."""
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
    count, height, width = windows.shape[:3]
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(count, height * width, -1)
    # One product a row, so that a row rounds alike in any batch.
    return np.matmul(patches, kernel).reshape(count, height, width, -1)


def _elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def _check(path: Path, arrays: dict[str, np.ndarray], action_space: gymnasium.Space) -> None:
    if not isinstance(action_space, spaces.Discrete):
        raise ValueError(f"{path}: chooses among actions, but the environment's are {action_space}")
    gates, num_actions = 3 * NUM_HIDDEN, int(action_space.n)
    needed: dict[str, tuple[int, ...]] = {
        "gru.weight_ih": (gates, 25 * CHANNELS),
        "gru.weight_hh": (gates, NUM_HIDDEN),
        "gru.bias_ih": (gates,),
        "gru.bias_hh": (gates,),
        "actor_linear.weight": (num_actions, NUM_HIDDEN),
        "actor_linear.bias": (num_actions,),
    }
    for i in range(NUM_CONVOLUTIONS):
        needed[f"conv{i + 1}.weight"] = (CHANNELS, CHANNELS if i else 1, 3, 3)
        needed[f"conv{i + 1}.bias"] = (CHANNELS,)
    for key, shape in needed.items():
        if key not in arrays:
            raise ValueError(f"{path}: has no key {key!r}; an Atari actor needs it")
        if arrays[key].shape != shape:
            raise ValueError(
                f"{path}: {key} has shape {arrays[key].shape}, but {shape} fits the environment's "
                f"{action_space}"
            )
