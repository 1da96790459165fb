"""Does a behavior of the user's own act as asked, and is what is wrong with one a single line?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from dt.collect.behaviors.acting import Behavior
from dt.collect.behaviors.sources import load_behavior
from dt.spaces.records import to_records

SEEN = spaces.Dict(arm=spaces.Box(-1, 1, (2,)), mode=spaces.Discrete(3))
DONE = spaces.Box(-1.0, 1.0, (2,), np.float32)

MODULE = """
import numpy as np
from dt.collect.behaviors.acting import Behavior

def arm(observations, rngs):
    return observations["arm"].astype(np.float64)

def drawn(observations, rngs, spread=1.0):
    return [spread * rng.uniform(-1, 1, 2) for rng in rngs]

begun = []
kept = Behavior("kept", arm, start=lambda rows, rngs: begun.append(rows.tolist()))
both = lambda observations, rngs: ([1, 0], np.zeros((2, 2)))
one = lambda observations: observations
flat = lambda observations, rngs: np.zeros(len(rngs))
words = lambda observations, rngs: np.array([["a", "b"]] * len(rngs))
far = lambda observations, rngs: np.full((len(rngs), 2), 3.0)
nothing = lambda observations, rngs: None
number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    file = tmp_path / "my_behaviors.py"
    file.write_text(MODULE)
    (tmp_path / "breaking.py").write_text("raise RuntimeError('no licence\\nfound')")
    monkeypatch.syspath_prepend(tmp_path)
    yield file
    sys.modules.pop("my_behaviors", None)


def load(word: str, action_space: spaces.Space = DONE) -> Behavior:
    return load_behavior(word, SEEN, action_space, players={})


def act(behavior: Behavior) -> Any:
    tree = {"arm": np.array([[0.5, -0.5], [0.25, 1.0]], np.float32), "mode": np.array([0, 2])}
    rngs = [np.random.default_rng(row) for row in range(2)]
    return behavior.act(to_records(SEEN, tree), rngs)


def test_a_function_sees_what_gymnasium_gives_and_draws_from_its_rows(module: Path) -> None:
    behavior = load("my_behaviors:arm")
    actions = act(behavior)
    np.testing.assert_array_equal(actions, np.float32([[0.5, -0.5], [0.25, 1.0]]))
    assert actions.dtype == np.float32 and behavior.name == "my_behaviors:arm"
    assert len(behavior.content) == 64  # another file is another behavior
    drawn = act(load("my_behaviors:drawn"))
    wanted = [np.random.default_rng(row).uniform(-1, 1, 2) for row in range(2)]
    np.testing.assert_array_equal(drawn, np.float32(wanted))
    parts = act(load("my_behaviors:both", spaces.Tuple((spaces.Discrete(2), DONE))))
    assert parts[0].tolist() == [1, 0] and parts[1].dtype == np.float32


def test_a_behavior_of_ones_own_is_told_who_begins(module: Path) -> None:
    behavior = load("my_behaviors:kept")
    behavior.start(np.array([True, False]), [])
    assert sys.modules["my_behaviors"].begun == [[True, False]]
    assert act(behavior).shape == (2, 2) and behavior.name == "my_behaviors:kept"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("my_behavior:act", "No module named 'my_behavior'; put the folder that holds it on"),
        ("breaking:act", r"cannot import breaking \(RuntimeError: no licence\)$"),
        ("my_behaviors:akt", "module my_behaviors has no 'akt'"),
        ("my_behaviors:one", r"one is a function of \(observations\); give a function of two"),
        ("my_behaviors:number", "number is of type int; give a function"),
        ("my_behaviors:", "'my_behaviors:' is none of random"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(module: Path, word: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"--policy .*{message}") as caught:
        load(word)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flat", r"float64 of shape \(2,\); give float32 of \(2, 2\)"),
        ("words", "its actions are <U1 of shape"),
        ("far", "its actions lie outside of Box"),
        ("nothing", r"its actions are object of shape \(\)"),
    ],
)
def test_actions_that_are_none_of_the_space_are_one_line(
    module: Path, name: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        act(load(f"my_behaviors:{name}"))
    assert "\n" not in str(caught.value)


def test_actions_that_lack_a_part_are_one_line(module: Path) -> None:
    with pytest.raises(ValueError, match="its actions are none of Dict"):
        act(load("my_behaviors:arm", spaces.Dict(push=DONE)))
