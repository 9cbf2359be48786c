"""The skeleton of every daemon: one selector, wake-ups from threads, signals as flags, one round after another.

A role has `tick`, which does one round and returns; only this module knows how to wait, to drain and to stop.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class HasDescriptor(Protocol):
    """Anything that a selector can watch."""

    def fileno(self) -> int:
        """The descriptor."""
        ...


class Loop:
    """A selector with callbacks, a bell that any thread may ring, and the signals received since the last look."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._signals: list[int] = []
        self._selector.register(self._bell, selectors.EVENT_READ, self._quiet)

    @staticmethod
    def clock() -> float:
        """Monotonic seconds: what everything here is paced by."""
        return time.monotonic()

    def watch(self, thing: HasDescriptor, ready: Callable[[], object]) -> None:
        """Call ``ready`` whenever there is something to read."""
        self._selector.register(thing, selectors.EVENT_READ, ready)

    def unwatch(self, thing: HasDescriptor) -> None:
        """Stop watching; fine if it was not watched."""
        try:
            self._selector.unregister(thing)
        except (KeyError, ValueError):
            return

    def ring(self) -> None:
        """End the wait of the current round; may be called from any thread and any signal handler."""
        os.eventfd_write(self._bell, 1)

    def wait(self, seconds: float) -> None:
        """Wait for events, at most so long, and call what is ready."""
        for key, _ in self._selector.select(max(0.0, seconds)):
            key.data()

    def take_signals(self) -> list[int]:
        """The signals that came since the last call, in order."""
        taken, self._signals = self._signals, []
        return taken

    def catch_signals(self) -> None:
        """Turn TERM, INT, QUIT and HUP into entries of `take_signals`."""
        for number in _SIGNALS:
            signal.signal(number, self._caught)

    def close(self) -> None:
        """Close the selector and the bell."""
        self._selector.close()
        os.close(self._bell)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)
        self.ring()

    def _quiet(self) -> None:
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            return
