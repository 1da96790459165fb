"""Is one error of a damaged checkpoint one line, whatever else fails beside it?"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dt.checkpoint.arrays import _follows


@pytest.mark.parametrize(
    ("file", "follows"),
    [("/packages/orbax/checkpoint/reading.py", True), ("/packages/mine/reading.py", False)],
)
def test_what_fails_besides_is_told_by_where_it_comes_from(file: str, follows: bool) -> None:
    made: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}
    exec(compile("async def read(): pass", file, "exec"), made)
    coroutine = made["read"]()
    assert _follows(ValueError("an array is damaged"), coroutine) == follows
    coroutine.close()


def test_a_closed_loop_follows_and_other_errors_do_not() -> None:
    assert _follows(RuntimeError("Event loop is closed"), None)
    assert not _follows(RuntimeError("another"), None)
