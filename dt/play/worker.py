"""A thread that makes calls for another one, which can give up on a call that hangs."""

from __future__ import annotations

import queue
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import TypeVar, cast

T = TypeVar("T")


class Hung(Exception):
    """A call that did not come back in time, and the frames that it is in, innermost first."""

    def __init__(self, frames: list[FrameType]):
        self.frames = frames


class Worker:
    """A thread that makes calls for another one; it may be left behind in a call that hangs.

    Python cannot stop a thread, but it can stop waiting for it.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        # What a call returned, or what it raised.
        self._outcomes: queue.SimpleQueue[tuple[object, BaseException | None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], T], timeout: float) -> T:
        """Make a call in the thread, and wait `timeout` seconds for what it returns or raises.

        Raises:
            Hung: when it does not come back in time.
        """
        self._calls.put(function)
        try:
            value, error = self._outcomes.get(timeout=timeout)
        except queue.Empty:
            assert self._thread.ident is not None
            frame = sys._current_frames().get(self._thread.ident)
            raise Hung([one for one, _ in traceback.walk_stack(frame)] if frame else []) from None
        if error is not None:
            raise error
        return cast(T, value)

    def stop(self) -> None:
        """Let the thread end after the call that it is in."""
        self._calls.put(None)

    def _run(self) -> None:
        while (function := self._calls.get()) is not None:
            try:
                self._outcomes.put((function(), None))
            except BaseException as error:  # SystemExit would end the thread without a word
                self._outcomes.put((None, error))
