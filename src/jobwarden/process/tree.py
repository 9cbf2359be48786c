"""A seat's process tree: finding all of it, and ending it for certain.

A process belongs to a seat if it descends from it, is in its session or carries its nonce. Each signal goes through a
pidfd whose identity was checked after it was opened, and a tree counts as ended only when a search finds none of it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jobwarden.domain.stamp import ProcessId
from jobwarden.process import pidfd, probe

_PACE = 0.01


@dataclass(frozen=True, slots=True)
class Member:
    """One living process of a tree."""

    process: ProcessId
    command: str


class Look:
    """Everyone at one moment: one reading of ``/proc`` that answers for any number of trees."""

    def __init__(self) -> None:
        self._everyone = {found.pid: found for found in probe.everyone()}
        self._offspring: dict[int, list[int]] = {}
        self._sessions: dict[int, list[int]] = {}
        self._carriers: dict[str, list[int]] | None = None
        for pid, found in self._everyone.items():
            self._offspring.setdefault(found.parent, []).append(pid)
            self._sessions.setdefault(found.session, []).append(pid)

    def members(self, root: ProcessId, nonce: str | None, also: Iterable[ProcessId] = ()) -> list[Member]:
        """Everything that belongs to the seat and can still act, the seat itself included, parents before children.

        ``also`` are processes known to belong to it, whatever they look like now.
        """
        seeds = {known.pid for known in (root, *also) if self._stands(known)}
        found = self._everyone.get(root.pid)
        if root.pid and (found is None or found.start_time == root.start_time):
            # a pid is not given out again while it still names a session; it may have been before that session began
            session = [pid for pid in self._sessions.get(root.pid, ()) if self._not_older(pid, root)]
            seeds.update(pid for pid in session if not nonce or probe.nonce(pid) in (nonce, None))
        if nonce:
            seeds.update(pid for pid in self._carrying(nonce) if self._not_older(pid, root))
        return self._named(self._below(seeds))

    def below(self, root: ProcessId) -> list[Member]:
        """Everything below a process by parentage alone, without itself; zombies are left out."""
        return self._named(self._below({root.pid}) - {root.pid})

    def resident(self, members: Sequence[Member]) -> int:
        """The resident memory that these had, in bytes; what several share counts for each of them."""
        return sum(self._everyone[member.process.pid].rss for member in members)

    def _named(self, pids: Iterable[int]) -> list[Member]:
        running = [self._everyone[pid] for pid in pids if self._everyone[pid].running]
        running.sort(key=lambda found: (found.start_time, found.pid))
        return [Member(ProcessId(found.pid, found.start_time), probe.command_line(found.pid)) for found in running]

    def _stands(self, process: ProcessId) -> bool:
        found = self._everyone.get(process.pid)
        return found is not None and found.start_time == process.start_time

    def _not_older(self, pid: int, root: ProcessId) -> bool:
        return self._everyone[pid].start_time >= root.start_time

    def _carrying(self, nonce: str) -> list[int]:
        if self._carriers is None:
            self._carriers = {}
            for pid, found in self._everyone.items():
                carried = probe.nonce(pid) if found.running else None
                if carried is not None:
                    self._carriers.setdefault(carried, []).append(pid)
        return self._carriers.get(nonce, [])

    def _below(self, seeds: set[int]) -> set[int]:
        found, waiting = set(seeds), list(seeds)
        while waiting:
            fresh = [child for child in self._offspring.get(waiting.pop(), ()) if child not in found]
            found.update(fresh)
            waiting.extend(fresh)
        found.discard(os.getpid())
        return found


def members(root: ProcessId, nonce: str | None) -> list[Member]:
    """`Look.members` as of now."""
    return Look().members(root, nonce)


def descendants(root: ProcessId) -> list[Member]:
    """`Look.below` as of now."""
    return Look().below(root)


def strike(targets: Iterable[Member], number: int) -> int:
    """Send a signal to each, its identity checked first; how many got it."""
    return sum(_strike(target.process, number) for target in targets)


def end_tree(root: ProcessId, nonce: str | None, *, grace: float, patience: float = 5.0) -> list[Member]:
    """TERM to all, after ``grace`` seconds KILL, until a search finds none; who is left ``patience`` seconds later.

    What is left cannot be ended (it sleeps in the kernel, or belongs to somebody else): its seat must not be reused.
    """
    left = members(root, nonce)
    if left and grace > 0:
        strike(left, signal.SIGTERM)
        left = _await_none(root, nonce, grace)
    limit = time.monotonic() + patience
    while left and time.monotonic() < limit:
        strike(left, signal.SIGKILL)
        left = _await_none(root, nonce, min(0.2, patience))
    return left


def _await_none(root: ProcessId, nonce: str | None, seconds: float) -> list[Member]:
    limit = time.monotonic() + seconds
    while left := members(root, nonce):
        if time.monotonic() >= limit:
            break
        time.sleep(_PACE)
    return left


def _strike(process: ProcessId, number: int) -> bool:
    try:
        return pidfd.signal_checked(process, number)
    except PermissionError:
        return False


def end_children(grace: float = 1.0, patience: float = 5.0, quiet: frozenset[int] = frozenset()) -> list[Member]:
    """End every child of this process, its orphaned descendants included (it is their subreaper), and reap them.

    TERM, after ``grace`` seconds KILL, until the kernel says that there is no child. Gives who was found alive; the
    pids in ``quiet`` end by themselves and are not mentioned unless they do not.
    """
    found: dict[int, Member] = {}
    started = time.monotonic()
    while _reap_dead() and time.monotonic() < started + grace + patience:
        late = time.monotonic() >= started + grace
        for pid in probe.children():
            stat = probe.stat(pid)
            if stat is None or not stat.running:
                continue
            if late or (pid not in found and pid not in quiet):
                found.setdefault(pid, Member(ProcessId(pid, stat.start_time), probe.command_line(pid)))
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)  # our own child keeps its pid until reaped
        time.sleep(_PACE)
    return list(found.values())


def _reap_dead() -> bool:
    """Reap the children that have ended; whether any are left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return False
    return True
