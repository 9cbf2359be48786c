"""No test leaves a process behind: what carries our mark, or descends from us, is gone when the session ends.

Everything that a test executes inherits a mark in its environment, through any number of forks and new sessions;
what it merely forks is found as our descendant. Servers and their janitor are started without the mark.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable

from tests.support.processes import MARK, Proc, carries, descendants, everyone
from tests.support.waiting import eventually


class Leaks:
    """Remembers in which test each marked process was first seen."""

    def __init__(self, ours: Callable[[], set[int]]) -> None:
        self.mark = os.environ.setdefault(MARK, uuid.uuid4().hex)
        self._ours = ours
        self._judged: dict[int, tuple[Proc, bool]] = {}
        self._seen_in: dict[Proc, str] = {}
        self._there: set[int] = set()

    def look(self, test: str) -> None:
        """Note which processes appeared during a test; costs one listing when none did."""
        there = set(everyone())
        if there - self._there:
            for proc in self.left():
                self._seen_in.setdefault(proc, test)
        self._there = there

    def left(self) -> list[Proc]:
        """The processes of the tests that are alive now."""
        procs = [proc for proc in map(Proc.of, everyone()) if proc is not None]
        self._judged = {proc.pid: self._judge(proc) for proc in procs}
        spared = self._spared()
        marked = {proc for proc, ours in self._judged.values() if ours}
        return sorted((marked | set(descendants(os.getpid()))) - spared, key=lambda proc: proc.pid)

    def _judge(self, proc: Proc) -> tuple[Proc, bool]:
        known = self._judged.get(proc.pid)
        return known if known and known[0] == proc else (proc, carries(proc.pid, MARK, self.mark))

    def end(self, grace: float = 5.0) -> list[str]:
        """Wait until all are gone; kill and describe those that are not."""
        try:
            eventually(lambda: not self.left(), grace)
        except AssertionError:
            leaked = self.left()
            stories = [f"{proc.pid} {proc.command} (since {self._seen_in.get(proc, 'the end')})" for proc in leaked]
            for proc in leaked:
                proc.signal(signal.SIGKILL)
            return stories
        return []

    def _spared(self) -> set[Proc]:
        """Ourselves and those above us (a bootstrap script carries the mark too), servers, janitor."""
        spared = {os.getpid(), os.getppid(), *self._ours()}
        below = {proc for pid in self._ours() for proc in descendants(pid)}
        return below | {proc for proc in map(Proc.of, spared) if proc is not None}
