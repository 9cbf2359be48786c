"""Reaping seats: a dead seat's session is ended while its zombie still pins the pid, then it is waited for, then what
it left behind (reparented to us, its subreaper) is ended and named.

A process that we have not reaped cannot lose its pid, so signals to our own children are safe.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from jobwarden.domain.stamp import ProcessId
from jobwarden.process import pidfd, probe
from jobwarden.process.exits import Exit, Leftover

_PATIENCE = 1.0
_PEEK = os.WEXITED | os.WNOHANG | os.WNOWAIT


class Nursery:
    """The seats that a zygote (or, after it, the supervisor) must reap, by pid."""

    def __init__(self, bystanders: Iterable[int] = ()) -> None:
        self._seats: dict[int, tuple[ProcessId, str]] = {}
        self._bystanders = set(bystanders)

    def __len__(self) -> int:
        return len(self._seats)

    def add(self, process: ProcessId, nonce: str) -> None:
        """A seat was born."""
        self._seats[process.pid] = (process, nonce)

    def seats(self) -> list[tuple[ProcessId, str]]:
        """The seats that are not reaped yet, with their nonces."""
        return list(self._seats.values())

    def discard(self, process: ProcessId) -> None:
        """A seat's end is known from elsewhere."""
        self._seats.pop(process.pid, None)

    def collect_all(self) -> list[Exit]:
        """Reap whatever child has ended, known or not, and end what dead seats left behind."""
        ended: list[Exit] = []
        while (pid := _next_zombie()) is not None:
            if pid in self._seats:
                ended.append(bury(*self._seats.pop(pid)))
            else:
                os.waitpid(pid, 0)
                self._bystanders.discard(pid)
        return self._with_leftovers(ended, strangers=True) if ended else []

    def collect_own(self) -> list[Exit]:
        """Reap only known seats: for a process that has other children too. A seat reaped elsewhere counts as ended."""
        ended: list[Exit] = []
        for process, nonce in list(self._seats.values()):
            end = _bury_if_ended(process, nonce)
            if end is not None:
                del self._seats[process.pid]
                ended.append(end)
        return self._with_leftovers(ended, strangers=False) if ended else []

    def _with_leftovers(self, ended: list[Exit], strangers: bool) -> list[Exit]:
        found: dict[str, list[Leftover]] = {}
        by_session = {end.process.pid: end.nonce for end in ended}
        for _ in range(64):  # ending one hands us its children in turn
            strays = self._strays(by_session, ended[-1].nonce if strangers else None)
            if not strays:
                break
            for nonce, leftover in _end_strays(strays):
                found.setdefault(nonce, []).append(leftover)
                if not leftover.ended:  # whoever hears of it goes on; waiting here would hold up every birth
                    self._bystanders.add(leftover.pid)
        return [replace(end, leftovers=tuple(found.get(end.nonce, ()))) for end in ended]

    def _strays(self, by_session: Mapping[int, str], otherwise: str | None) -> dict[int, str]:
        strays: dict[int, str] = {}
        for pid in probe.children():
            if pid in self._seats or pid in self._bystanders:
                continue
            found = probe.stat(pid)
            if found is None or not found.running:
                continue
            nonce = by_session.get(found.session) or self._heir(probe.nonce(pid), by_session.values(), otherwise)
            if nonce is not None:
                strays[pid] = nonce
        return strays

    def _heir(self, nonce: str | None, ended: Iterable[str], otherwise: str | None) -> str | None:
        """The ended seat that a stray with this nonce is reported under; None leaves it for another burial."""
        if nonce in set(ended):
            return nonce
        unburied = any(nonce == known for _, known in self._seats.values())  # it died a moment ago
        return None if unburied else otherwise


def bury(process: ProcessId, nonce: str) -> Exit:
    """Reap a seat that has ended: first the rest of its session, which its zombie still names."""
    _signal_group(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    return Exit(
        process=process,
        nonce=nonce,
        status=status,
        user_ms=round(usage.ru_utime * 1000),
        system_ms=round(usage.ru_stime * 1000),
        peak_rss=usage.ru_maxrss * 1024,
    )


def has_children() -> bool:
    """Whether this process has any child at all, dead or alive; exact, unlike a look at ``/proc``."""
    try:
        os.waitid(os.P_ALL, 0, _PEEK)
    except ChildProcessError:
        return False
    return True


def _next_zombie() -> int | None:
    try:
        found = os.waitid(os.P_ALL, 0, _PEEK)
    except ChildProcessError:
        return None
    return found.si_pid if found is not None else None


def _bury_if_ended(process: ProcessId, nonce: str) -> Exit | None:
    try:
        if os.waitid(os.P_PID, process.pid, _PEEK) is None:
            return None
        return bury(process, nonce)
    except ChildProcessError:
        return None if probe.alive(process) else Exit(process=process, nonce=nonce, status=None)


def _signal_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _end_strays(strays: Mapping[int, str]) -> list[tuple[str, Leftover]]:
    named = {pid: (probe.command_line(pid), probe.start_time(pid) or 0) for pid in strays}
    for pid in strays:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    limit = time.monotonic() + _PATIENCE
    ended = {pid: _reap_until(pid, limit) for pid in strays}
    return [(nonce, Leftover(pid, named[pid][0], ended[pid], named[pid][1])) for pid, nonce in strays.items()]


def _reap_until(pid: int, limit: float) -> bool:
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return not probe.stat(pid)
    try:
        if pidfd.ended(fd, max(0, int((limit - time.monotonic()) * 1000))):
            os.waitpid(pid, os.WNOHANG)
            return True
        return False
    except ChildProcessError:
        return True
    finally:
        os.close(fd)
