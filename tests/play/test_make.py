"""Are environments made in groups where that is worth it, and are refusals one line?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import envs as our_envs  # noqa: F401 (threads for MuJoCo's tasks)
from dt.play.make import WORTH_TURNS, make_envs, make_groups
from dt.spaces.environments import environment_spaces


def test_groups_are_made_where_turns_are_worth_it() -> None:
    def sizes(*args: Any) -> list[int]:
        groups = make_groups(*args)
        for envs in groups:
            envs.close()
        return [envs.num_envs for envs in groups]

    assert sizes("CartPole-v1", WORTH_TURNS - 1) == [WORTH_TURNS - 1]
    assert sizes("CartPole-v1", WORTH_TURNS + 1) == [WORTH_TURNS // 2 + 1] * 2
    assert sizes("Walker2d-v5", WORTH_TURNS) == [WORTH_TURNS]  # steps on threads of its own
    assert sizes("Walker2d-v5", WORTH_TURNS, {}, "sync") == [WORTH_TURNS // 2] * 2


class Leaving(gymnasium.Env):
    def __init__(self) -> None:
        sys.exit(0)


def test_a_constructor_that_exits_is_refused() -> None:
    gymnasium.register("Leaving-v0", Leaving)
    refusal = r"^cannot make environment 'Leaving-v0': it raised SystemExit: 0$"
    for make in (lambda: make_envs("Leaving-v0", 2), lambda: environment_spaces("Leaving-v0")):
        with pytest.raises(ValueError, match=refusal):
            make()
    del gymnasium.registry["Leaving-v0"]


def test_a_module_that_exits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_script.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match="'a_script:Any-v0': it raised SystemExit"):
        make_envs("a_script:Any-v0", 1)
