"""The process of an attempt, looked at now: whether it is exactly the one that the stamp names, and all below it.

Only inside its own pid scope can anything be said of it: elsewhere one asks the daemon that watches it, whose answer
comes with the Python stack. What is shown is what ``/proc`` says in that moment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from jobwarden.domain.stamp import Host, ProcessId
from jobwarden.process import probe
from jobwarden.process.tree import Look
from jobwarden.store import looks
from jobwarden.store.database import Transaction
from jobwarden.views.fleet import Seen, same
from jobwarden.views.jobs import AttemptView, attempts_of

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
    of it. ``at`` is when that was seen (None: now); ``stack`` is what the process said of its Python stack at
    ``stack_at``, or ``unable`` why it did not; ``asked_at`` is since when somebody waits for another look.
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
    stack: str | None = None
    unable: str | None = None
    at: datetime | None = None
    stack_at: datetime | None = None
    asked_at: datetime | None = None

    def dump(self) -> dict[str, Any]:
        """As JSON data."""
        return {name: value for name, value in asdict(self).items() if value is not None}


_loader = TypeAdapter(Card)


def told(found: Mapping[str, Any], at: datetime | None) -> Card:
    """The card that a daemon wrote down at that moment."""
    return replace(_loader.validate_python(dict(found)), at=at, stack_at=at)


def of_job(transaction: Transaction, job_id: str, here: Host | None) -> Card | None:
    """The process of a job's current or last attempt, None before the first: looked at now if it is of our pid scope,
    else as the daemon that watches it saw it last, while it is not over; with the stack that this one was told."""
    found = attempts_of(transaction, job_id)
    if not found:
        return None
    over = found[-1].finished_at is not None
    own, looked = card(found[-1], here), looks.of(transaction, found[-1].id)
    asked_at = None if over else looked.asked_at
    if looked.found is None:
        return replace(own, asked_at=asked_at)
    last = replace(told(looked.found, looked.at), asked_at=asked_at)
    if own.seen is Seen.ELSEWHERE and not over:
        return last
    return replace(own, stack=last.stack, unable=last.unable, stack_at=last.stack_at, asked_at=asked_at)


def card(attempt: AttemptView, here: Host | None) -> Card:
    """Look at it now; ``here`` is where we are (None: where processes cannot be judged)."""
    by, pooled = here.hostname if here else "", attempt.isolation == "pool"
    if here is None or attempt.pid_scope != here.pid_scope or attempt.child_pid is None:
        return Card(Seen.ELSEWHERE, by, pooled)
    process = ProcessId(attempt.child_pid, attempt.child_start_time or 0, attempt.child_inode or 0)
    return look_at(process, attempt.proc_nonce, pooled, by)


def look_at(process: ProcessId, nonce: str | None, pooled: bool, by: str) -> Card:
    """Look at a process of our own pid scope."""
    members = () if pooled else tuple(Look().members(process, nonce))
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
