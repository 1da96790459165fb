"""The parts of a space are found in one order, pictures by their axes, and others refused."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from gymnasium import spaces

from dt.spaces.parts import Parts, is_image, leaves, plane
from dt.spaces.text import space_from_text, space_to_text


def test_parts_stand_in_the_order_of_their_keys_however_a_space_was_made() -> None:
    """A space loses its own order on the way through JSON; a model must not mind."""
    parts = {"b": spaces.Discrete(2), "a": spaces.Discrete(3)}
    space = spaces.Dict(OrderedDict(parts))
    assert list(space) == ["b", "a"]
    assert [leaf.name for leaf in leaves(space)] == ["a", "b"]
    assert [leaf.name for leaf in leaves(space_from_text(space_to_text(space)))] == ["a", "b"]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((84, 84), (84, 84, 1)),
        ((84, 84, 3), (84, 84, 3)),
        ((4, 84, 84), (84, 84, 4)),
        ((4, 96, 96, 3), (96, 96, 12)),
        ((4, 3, 96, 96), (96, 96, 12)),
        ((7, 7, 3), (7, 7, 3)),
    ],
)
def test_the_axes_of_pictures_are_told_apart(
    shape: tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    assert plane(shape) == expected and is_image(spaces.Box(0, 255, shape, np.uint8))


def test_bytes_that_are_no_pictures_are_numbers() -> None:
    for space in (spaces.Box(0, 255, (128,), np.uint8), spaces.Box(0, 255, (2, 9), np.uint8)):
        assert not is_image(space) and Parts.of(space).num_numbers == np.prod(space.shape)
    assert not Parts.of(spaces.Box(0, 255, (4, 3, 3), np.uint8), images=False).images


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (spaces.Dict(a=spaces.Tuple([spaces.Text(3)])), "at a/0: is none of Box"),
        (spaces.Dict(), "has no parts"),
        (spaces.Sequence(spaces.Discrete(2)), "is none of Box"),
    ],
)
def test_spaces_that_hold_something_else_are_refused(space: spaces.Space, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        leaves(space)
