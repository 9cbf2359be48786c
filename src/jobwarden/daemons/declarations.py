"""What an application declares, asked of a process of its own: a daemon never runs an application's code itself.

An application that cannot be imported costs the schedules that are there nothing: it is said, and tried again.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from jobwarden.daemons.narrator import Narrator
from jobwarden.domain.recovery import Backoff
from jobwarden.domain.schedule import Definition
from jobwarden.schedule import definitions_of

_LONGEST = 300.0  # seconds that an import may take
_PATIENCE = Backoff(base=2.0, factor=2.0, cap=60.0, jitter=False)


@dataclass(frozen=True, slots=True)
class Declared:
    """The schedules of one application, and what it is known by: the address it was loaded from."""

    owner: str
    schedules: list[Definition]


class Declarations:
    """Asks once, until there is an answer. ``clock`` is monotonic."""

    def __init__(self, app: str, narrator: Narrator, clock: Callable[[], float]) -> None:
        self._app, self._narrator, self._clock = app, narrator, clock
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._answered = False
        self._failures, self._next, self._until = 0, 0.0, 0.0

    def fresh(self) -> Declared | None:
        """The declarations, on the one call after they have arrived; never waits."""
        if self._answered:
            return None
        if self._process is None:
            if self._clock() >= self._next:
                self._ask()
            return None
        if self._process.poll() is None and self._clock() >= self._until:
            self._process.kill()
            self._process.wait()
        code = self._process.poll()
        return None if code is None else self._read(code)

    def close(self) -> None:
        """Ask no more."""
        self._answered = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _ask(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - a pipe could fill up while nobody reads it
        self._until = self._clock() + _LONGEST
        command = [sys.executable, "-m", "jobwarden.runner.declared", self._app]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._said, start_new_session=True)

    def _read(self, code: int) -> Declared | None:
        self._process, said = None, self._said
        if said is None:
            return None
        with said:
            said.seek(0)
            last = said.read().rpartition(b"\n")[2].decode(errors="replace")
        if code != 0:
            self._failed(last if code > 0 and last else f"its process ended with code {code}")
            return None
        try:
            declared = Declared(self._app, definitions_of(last))
        except ValueError:
            self._failed("what its process said cannot be read")
            return None
        self._answered = True
        return declared

    def _failed(self, why: str) -> None:
        self._failures += 1
        delay = _PATIENCE.delay(self._failures, 0.0)
        self._next = self._clock() + delay
        self._narrator.undeclared(self._app, why, delay)
