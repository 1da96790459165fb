"""Does a worker hand on what calls return and raise, and does it give up on one that hangs?"""

from __future__ import annotations

import threading

import pytest

from dt.play.worker import Hung, Worker


def test_calls_return_and_raise_as_if_they_were_made_here() -> None:
    worker = Worker()
    assert worker.call(lambda: None, 5.0) is None
    assert worker.call(threading.get_ident, 5.0) != threading.get_ident()
    with pytest.raises(KeyError, match="gone"):
        worker.call(lambda: {}["gone"], 5.0)
    assert worker.call(lambda: 3, 5.0) == 3  # it works on after what was raised
    worker.stop()


def test_a_call_that_hangs_is_left_with_the_frames_that_it_is_in() -> None:
    worker, released = Worker(), threading.Event()

    def hang() -> None:
        released.wait()

    with pytest.raises(Hung) as caught:
        worker.call(hang, 0.05)
    assert "hang" in [frame.f_code.co_name for frame in caught.value.frames]
    released.set()
    worker.stop()
