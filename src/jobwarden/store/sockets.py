"""The sockets of a pool, held so that another thread can break off a call that gets no answer.

A descriptor's number may belong to something else by the time that another thread uses it. A duplicate does not: it is
made when the connection is, and closed when the connection is.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event


class Sockets:
    """Duplicates of the sockets of one engine's connections. ``clock`` is monotonic."""

    def __init__(self, descriptor: Callable[[Any], int | None], clock: Callable[[], float]) -> None:
        self._descriptor, self._clock = descriptor, clock
        self._lock = threading.Lock()
        self._held: dict[int, tuple[float, socket.socket]] = {}

    def watch(self, engine: Engine) -> None:
        """Let go of what this engine closes or gives away."""
        event.listen(engine, "close", self._closed)
        event.listen(engine, "detach", self._closed)

    def hold(self, raw: Any) -> None:
        """A connection was opened."""
        number = self._descriptor(raw)
        if number is None:
            return
        held = socket.socket(fileno=os.dup(number))
        with self._lock:
            self._held[id(raw)] = (self._clock(), held)

    def cut(self, before: float) -> int:
        """Shut the connections down that are older than the moment ``before``; how many there were."""
        with self._lock:
            doomed = [key for key, (opened, _) in self._held.items() if opened < before]
            cut = [self._held.pop(key)[1] for key in doomed]
        for held in cut:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)
            held.close()
        return len(cut)

    def _closed(self, raw: Any, record: Any) -> None:
        with self._lock:
            _, held = self._held.pop(id(raw), (0.0, None))
        if held is not None:
            held.close()
