"""Are environments made in groups where that is worth it, and in one where it is not?"""

from __future__ import annotations

from typing import Any

import envs as our_envs  # noqa: F401 (threads for MuJoCo's tasks)
from dt.play.make import WORTH_TURNS, make_groups


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
