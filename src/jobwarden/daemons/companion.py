"""A companion: a daemon that a worker starts beside itself and starts again when it ends, as a process of its own.

It outlives the worker on purpose: it is what looks after the children of a worker that was killed. One pipe tells it
all that it must know: its settings, and by its end that the worker is gone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from jobwarden.config import Settings
from jobwarden.daemons.narrator import Narrator
from jobwarden.domain.recovery import Backoff
from jobwarden.process.wire import to_json

_PATIENCE = Backoff(base=0.5, factor=2.0, cap=30.0, jitter=False)
_HEALTHY_AFTER = 60.0  # seconds of life after which an end is not held against the next start


class Companion:
    """One companion, started by the first `keep`. ``clock`` is monotonic."""

    def __init__(
        self,
        role: str,
        settings: Settings,
        app: str,
        base: Path,
        narrator: Narrator,
        clock: Callable[[], float],
    ) -> None:
        self._role, self._narrator, self._clock = role, narrator, clock
        self._told = to_json({"role": role, "app": app, "base": str(base), "settings": settings.dump()})
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._failures = 0
        self._started = self._next = 0.0

    def keep(self) -> None:
        """Start it if it does not run and its time has come; called on every round."""
        now = self._clock()
        if self._process is not None and self._process.poll() is not None:
            self._note_end(self._process.returncode, now)
        if self._process is None and now >= self._next:
            self._start(now)

    def close(self) -> None:
        """Let it see that the worker is gone; it goes when its work is done."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        self._process = None

    def _start(self, now: float) -> None:
        theirs, self._pipe = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jobwarden.daemons", str(theirs)],
                pass_fds=[theirs],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            os.write(self._pipe, self._told + b"\n")
        except OSError:
            self._note_end(-1, now)
        finally:
            os.close(theirs)
        self._started = now

    def _note_end(self, code: int, now: float) -> None:
        self.close()
        self._failures = 1 if now - self._started > _HEALTHY_AFTER else self._failures + 1
        delay = _PATIENCE.delay(self._failures, 0.0)
        self._next = now + delay
        self._narrator.companion_gone(self._role.replace("_", " "), code, delay)
