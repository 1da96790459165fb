"""Signals that ask a run to stop, kept until it can stop without loss."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Signals:
    """SIGINT and SIGTERM as they come in; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._message: str | None = None

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: keep it, or interrupt what can be dropped."""
        again = number == signal.SIGINT and bool(self.received)
        self.received.append(number)
        if again or self._message is not None:
            raise KeyboardInterrupt(self._message or "stopped")

    @contextmanager
    def answered_at_once(self, message: str) -> Iterator[None]:
        """Let a signal end the work within, which can be dropped; an earlier one forbids it.

        Raises:
            KeyboardInterrupt: with the message, for a signal that came before or comes meanwhile.
        """
        self._message = message
        try:
            if self.received:
                raise KeyboardInterrupt(self._message)
            yield
        finally:
            self._message = None


@contextmanager
def deferred_signals() -> Iterator[Signals]:
    """Collect SIGINT and SIGTERM instead of dying of them."""
    signals = Signals()
    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        before = {number: signal.signal(number, signals.receive) for number in numbers}
    except ValueError:  # not the main thread: whoever owns it decides about signals
        yield signals
        return
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
