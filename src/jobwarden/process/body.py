"""A seat's body: its process, everything that belongs to it, and the control group that holds them where there is one.

Whoever watches over a seat needs the same answers, whether it started the seat or took it over: who of it is alive,
what they hold in memory, and how all of it is ended. What was seen of a body once is looked for until it is dead, even
when nothing connects it to the seat any more.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence

from jobwarden.domain.stamp import ProcessId
from jobwarden.process import probe, tree
from jobwarden.process.cgroup import Cgroups
from jobwarden.process.tree import Look, Member

_PASSES = 20


class Body:
    """A seat as a process tree. One `Look` given to many bodies spares each of them a reading of ``/proc``."""

    def __init__(self, nonce: str, process: ProcessId, cgroups: Cgroups | None = None) -> None:
        self.nonce = nonce
        self.process = process
        self.cgroups = cgroups
        self._seen: set[ProcessId] = set()

    def remember(self, processes: Iterable[ProcessId]) -> None:
        """These belong to it too, for as long as they live."""
        self._seen.update(processes)

    def members(self, look: Look | None = None) -> list[Member]:
        """Everything of it that can still act, the seat itself included."""
        found = (look or Look()).members(self.process, self.nonce, self._seen | self._grouped())
        self._seen = {member.process for member in found}
        return found

    def kill(self) -> list[Member]:
        """SIGKILL all of it; who was still alive. Call again until that is nobody."""
        return kill_all([self])[0]

    def kill_group(self) -> None:
        """Have the kernel end its control group at once, where there is one and the kernel can."""
        if self.cgroups is not None:
            self.cgroups.kill(self.nonce)

    @property
    def populated(self) -> bool:
        """Whether the kernel still counts anything in its control group; False where there is none."""
        return self.cgroups is not None and self.cgroups.populated(self.nonce)

    def rss(self, look: Look | None = None) -> int | None:
        """Resident memory in bytes: of the seat's own process, or with a look of all of it; None once it has ended."""
        found = probe.stat(self.process.pid)
        if found is None or found.start_time != self.process.start_time:
            return None
        return max(found.rss, look.resident(self.members(look))) if look is not None else found.rss

    def weight(self, look: Look) -> tuple[int, int]:
        """What all of it holds in memory, in bytes, shared pages counted once; and how many processes are below it."""
        members = self.members(look)
        whole = sum(probe.pss(member.process.pid) or look.resident([member]) for member in members)
        return max(whole, self.rss() or 0), max(0, len(members) - 1)

    def out_of_memory(self) -> bool:
        """Whether the kernel ended something in its own control group for its memory limit."""
        return self.cgroups is not None and self.cgroups.out_of_memory(self.nonce)

    def _grouped(self) -> set[ProcessId]:
        pids = self.cgroups.members(self.nonce) if self.cgroups is not None else []
        began = ((pid, probe.start_time(pid)) for pid in pids)
        return {ProcessId(pid, ticks) for pid, ticks in began if ticks is not None}


def kill_all(bodies: Sequence[Body]) -> list[list[Member]]:
    """SIGKILL several bodies; of each, who was still alive.

    First everything found is stopped, until a search finds nothing more: what stands still starts nothing, and loses
    no parent that shows whose it is. Then all of it is killed.
    """
    stopped: set[ProcessId] = set()
    found: list[list[Member]] = [[] for _ in bodies]
    for _ in range(_PASSES):
        look = Look()
        found = [body.members(look) for body in bodies]
        fresh = [member for members in found for member in members if member.process not in stopped]
        if not fresh:
            break
        tree.strike(fresh, signal.SIGSTOP)
        stopped.update(member.process for member in fresh)
    for body, members in zip(bodies, found, strict=True):
        body.kill_group()
        tree.strike(members, signal.SIGKILL)
    return found
