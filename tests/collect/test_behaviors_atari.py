"""Does the recurrent actor compute what its layers say, and see what Pillow would show it?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image

from dt.collect.behaviors.acting import Behavior
from dt.collect.behaviors.atari import ScreenActor, half_screens
from dt.collect.behaviors.sources import load_behavior

SCREENS = spaces.Box(0, 255, (210, 160, 3), np.uint8)
FOUR = spaces.Discrete(4)


def make_arrays(**changes: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "gru.weight_ih": (768, 800),
        "gru.weight_hh": (768, 256),
        "gru.bias_ih": (768,),
        "gru.bias_hh": (768,),
        "actor_linear.weight": (4, 256),
        "actor_linear.bias": (4,),
        "critic_linear.weight": (1, 256),
        "critic_linear.bias": (1,),
    }
    for i in range(4):
        shapes |= {f"conv{i + 1}.weight": (32, 32 if i else 1, 3, 3), f"conv{i + 1}.bias": (32,)}
    arrays: dict[str, Any] = {}
    for key, shape in shapes.items():
        fan_in = np.prod(shape[1:])
        arrays[key] = (2.0 * rng.normal(size=shape) / np.sqrt(fan_in)).astype(np.float32)
    arrays |= changes
    return {key: value for key, value in arrays.items() if value is not None}


def write(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


def load(path: Path, observation_space: spaces.Space = SCREENS, **how: Any) -> Behavior:
    return load_behavior(f"npz:{path}", observation_space, FOUR, players={}, **how)


def make_screens(count: int, seed: int = 1) -> np.ndarray:
    """Coarse pictures, a little different from one another."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (count, 21, 16, 3), dtype=np.uint8)
    return blocks.repeat(10, axis=1).repeat(10, axis=2)


def slow_logits(arrays: dict[str, np.ndarray], pictures: np.ndarray) -> np.ndarray:
    """One episode, a picture a step, number by number as PyTorch's documentation has it."""
    a = {key: value.astype(np.float64) for key, value in arrays.items()}
    hidden = np.zeros(256)
    for picture in pictures.astype(np.float64):
        maps = picture[None]
        for i in range(1, 5):
            size = maps.shape[1] // 2
            padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
            out = np.empty((32, size, size))
            for y in range(size):
                for x in range(size):
                    patch = padded[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
                    out[:, y, x] = np.tensordot(a[f"conv{i}.weight"], patch, 3)
            out += a[f"conv{i}.bias"][:, None, None]
            maps = np.where(out > 0, out, np.exp(np.minimum(out, 0)) - 1)
        inward = a["gru.weight_ih"] @ maps.ravel() + a["gru.bias_ih"]
        again = a["gru.weight_hh"] @ hidden + a["gru.bias_hh"]
        r = 1 / (1 + np.exp(-(inward[:256] + again[:256])))
        z = 1 / (1 + np.exp(-(inward[256:512] + again[256:512])))
        n = np.tanh(inward[512:] + r * again[512:])
        hidden = (1 - z) * n + z * hidden
    return a["actor_linear.weight"] @ hidden + a["actor_linear.bias"]


def test_half_a_screen_is_what_pillow_makes_of_it() -> None:
    screens = np.random.default_rng(0).integers(0, 200, (3, 210, 160, 3), dtype=np.uint8)
    screens[1] = 7  # nothing to stretch
    for screen, ours in zip(screens, half_screens(screens), strict=True):
        grey = screen[35:195].mean(axis=2)
        span = grey.max() - grey.min() or 1.0
        stretched = ((grey - grey.min()) * (255 / span) + 0.5).astype(np.uint8)
        halved = np.array(Image.fromarray(stretched).resize((80, 80), Image.Resampling.BILINEAR))
        # A mean of three rounds elsewhere than their sum, once in a while.
        assert np.abs(ours * 255 - halved).max() <= 1
        assert (np.rint(ours * 255) == halved).mean() > 0.999


def test_the_actor_is_its_layers_and_remembers_its_episode() -> None:
    arrays = make_arrays()
    pictures = half_screens(make_screens(6)).reshape(2, 3, 80, 80)  # two rows, three steps
    actor = ScreenActor(arrays)
    actor.start(np.ones(2, bool), [])
    for t in range(3):
        expected = [slow_logits(arrays, row[: t + 1]) for row in pictures]
        np.testing.assert_allclose(actor.logits(pictures[:, t]), expected, rtol=1e-4, atol=1e-4)
    actor.start(np.array([False, True]), [])  # the other row goes on
    logits = actor.logits(pictures[:, 0])
    other = slow_logits(arrays, pictures[0][[0, 1, 2, 0]])
    expected = [other, slow_logits(arrays, pictures[1][:1])]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_a_row_of_the_actor_does_not_depend_on_the_others() -> None:
    actor = ScreenActor(make_arrays())
    pictures = half_screens(make_screens(5))
    actor.start(np.ones(5, bool), [])
    together = actor.logits(pictures)
    for row in range(5):
        actor.start(np.ones(1, bool), [])
        np.testing.assert_array_equal(actor.logits(pictures[row : row + 1])[0], together[row])


def test_where_observations_are_no_screens_it_watches_what_is_rendered(tmp_path: Path) -> None:
    path = write(tmp_path / "actor.npz", make_arrays())
    assert load(path, spaces.Box(0, 255, (84, 84, 4), np.uint8)).watches
    stacked = load(path, spaces.Box(0, 255, (1, 210, 160, 3), np.uint8), deterministic=True)
    assert not stacked.watches
    plain = load(path, deterministic=True)
    screens = make_screens(4)
    for behavior in (stacked, plain):
        behavior.start(np.ones(4, bool), [])
    assert (stacked.act(screens[:, None], []) == plain.act(screens, [])).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv3.bias": None}, "actor.npz: has no key 'conv3.bias'"),
        ({"gru.bias_hh": np.zeros(7)}, r"gru.bias_hh has shape \(7,\)"),
        ({"actor_linear.weight": np.zeros((6, 256))}, r"\(6, 256\), but \(4, 256\) fits.*Discrete"),
    ],
)
def test_a_file_that_is_no_such_actor_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / "actor.npz", make_arrays(**changes))
    with pytest.raises(ValueError, match=message):
        load(path)
