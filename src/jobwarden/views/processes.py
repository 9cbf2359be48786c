"""The process of an attempt, looked at now: whether it is exactly the one that the stamp names, and all below it.

Only inside its own pid scope can anything be said of it. What is shown is what ``/proc`` says in that moment.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from jobwarden.domain.stamp import Host, ProcessId
from jobwarden.process import probe
from jobwarden.process.tree import Look
from jobwarden.views.fleet import Seen, same
from jobwarden.views.jobs import AttemptView

_ANCESTORS = 20


@dataclass(frozen=True, slots=True)
class Relative:
    """A process above or below: its pid, its parent's, its name, state, and resident memory in bytes."""

    pid: int
    parent: int
    command: str
    state: str
    rss: int


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of an attempt's process: what was ``seen`` of it by the host ``by``; None or empty elsewhere.

    ``cpu`` is in seconds, ``rss`` in bytes, ``open_files`` how many; ``parents`` from the nearest up; ``tree`` all of
    the attempt that can still act, itself included. ``pooled``: the process outlives the attempt, and tells nothing
    of it.
    """

    seen: Seen
    by: str
    pooled: bool
    command: str | None = None
    state: str | None = None
    cpu: float | None = None
    rss: int | None = None
    threads: int | None = None
    open_files: int | None = None
    parents: tuple[Relative, ...] = ()
    tree: tuple[Relative, ...] = ()


def card(attempt: AttemptView, here: Host | None) -> Card:
    """Look at it now; ``here`` is where we are (None: where processes cannot be judged)."""
    by, pooled = here.hostname if here else "", attempt.isolation == "pool"
    if here is None or attempt.pid_scope != here.pid_scope or attempt.child_pid is None:
        return Card(Seen.ELSEWHERE, by, pooled)
    process = ProcessId(attempt.child_pid, attempt.child_start_time or 0, attempt.child_inode or 0)
    look = Look()
    members = () if pooled else tuple(look.members(process, attempt.proc_nonce))
    tree = tuple(found for member in members if (found := _relative(member.process.pid)))
    stat = probe.stat(process.pid)
    if stat is None or not stat.running:
        return Card(Seen.GONE, by, pooled, tree=tree)
    if not same(process, stat.start_time):
        return Card(Seen.RECYCLED, by, pooled, tree=tree)
    facts = (stat.command, stat.state, stat.cpu, stat.rss, stat.threads, _open_files(process.pid))
    return Card(Seen.VERIFIED, by, pooled, *facts, _parents(stat.parent), tree)


def _parents(pid: int) -> tuple[Relative, ...]:
    found: list[Relative] = []
    while pid > 0 and len(found) < _ANCESTORS and (relative := _relative(pid)):
        found.append(relative)
        pid = relative.parent
    return tuple(found)


def _relative(pid: int) -> Relative | None:
    stat = probe.stat(pid)
    return None if stat is None else Relative(stat.pid, stat.parent, stat.command, stat.state, stat.rss)


def _open_files(pid: int) -> int | None:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
