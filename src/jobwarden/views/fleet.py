"""Who works and what runs: workers by the database's clock, attempts in flight with their processes looked at now.

A process is judged only inside its own pid scope, and only by its complete name; elsewhere nothing is claimed of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, select

from jobwarden.domain.stamp import Host, ProcessId
from jobwarden.domain.states import IN_FLIGHT, LIVE_WORKER
from jobwarden.errors import IdentityUnknown, PlatformUnsupported
from jobwarden.process import identity, pidfd, probe
from jobwarden.store.database import Transaction, age
from jobwarden.store.schema import attempts, jobs, workers
from jobwarden.views.rows import build, columns, in_states


class Seen(StrEnum):
    """What was found where an attempt's stamp points."""

    VERIFIED = "verified"  # exactly this process is there and can act
    GONE = "gone"  # there is no such process any more
    RECYCLED = "recycled"  # the pid means another process by now
    ELSEWHERE = "elsewhere"  # another host or PID namespace: only a daemon there can tell


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """A daemon's row; ``heartbeat_age`` is in seconds by the database's clock."""

    id: str
    role: str
    state: str
    hostname: str | None
    host_id: str
    pid_scope: str
    pid: int | None
    start_time: int | None
    assurance: str | None
    capacity: int | None
    current_load: int
    app_version: str | None
    python_version: str | None
    meta: dict[str, Any] | None
    stats: dict[str, Any] | None
    started_at: datetime
    heartbeat_at: datetime
    stopped_at: datetime | None
    last_signal: str | None
    heartbeat_age: float


@dataclass(frozen=True, slots=True)
class Flight:
    """An attempt in flight; ``age`` is in seconds since it was dispatched, ``cpu`` in seconds, ``rss`` in bytes.

    ``seen`` is None until `verified` has looked at the process.
    """

    job_id: str
    attempt_id: str
    attempt_number: int
    state: str
    job: str
    label: str | None
    lane: str
    cancel_mode: str | None
    worker_id: str | None
    worker_state: str | None
    heartbeat_age: float | None
    hostname: str | None
    pid_scope: str | None
    child_pid: int | None
    child_start_time: int | None
    child_inode: int | None
    proc_nonce: str | None
    isolation: str | None
    progress: dict[str, Any] | None
    started_at: datetime | None
    age: float
    seen: Seen | None = None
    cpu: float | None = None
    rss: int | None = None

    @property
    def process(self) -> ProcessId | None:
        """The process that the stamp names, if it is complete."""
        if self.child_pid is None or self.child_start_time is None:
            return None
        return ProcessId(self.child_pid, self.child_start_time, self.child_inode or 0)


_workers: Select[Any] = select(*columns(workers, WorkerLine), age(workers.c.heartbeat_at).label("heartbeat_age"))
_flights: Select[Any] = (
    select(
        *columns(attempts, Flight, id="attempt_id"),
        jobs.c.job,
        jobs.c.name.label("label"),
        jobs.c.lane,
        jobs.c.cancel_mode,
        workers.c.state.label("worker_state"),
        age(workers.c.heartbeat_at).label("heartbeat_age"),
        age(attempts.c.created_at).label("age"),
    )
    .select_from(
        attempts.join(jobs, jobs.c.id == attempts.c.job_id).outerjoin(workers, workers.c.id == attempts.c.worker_id)
    )
    .where(in_states(attempts.c.state, IN_FLIGHT))
    .order_by(attempts.c.id)
)


def listed_workers(transaction: Transaction, role: str | None = None, everyone: bool = False) -> list[WorkerLine]:
    """The daemons that say they live (``everyone``: also those stopped or dead), by role, newest heartbeat first."""
    conditions: list[ColumnElement[bool]] = [] if everyone else [in_states(workers.c.state, LIVE_WORKER)]
    if role is not None:
        conditions.append(workers.c.role == role)
    query = _workers.where(*conditions).order_by(workers.c.role, workers.c.heartbeat_at.desc(), workers.c.id)
    return [build(WorkerLine, row, heartbeat_age=float(row.heartbeat_age)) for row in transaction.execute(query)]


def in_flight(transaction: Transaction, limit: int | None = None) -> list[Flight]:
    """The attempts that the database says run now, oldest first, at most ``limit``."""
    return [_flight(row) for row in transaction.execute(_flights.limit(limit))]


def verified(flights: Iterable[Flight], here: Host | None) -> list[Flight]:
    """The same attempts, each with what `/proc` shows of its process now; ``here`` None: every one is elsewhere."""
    return [_look(flight, here) for flight in flights]


def this_host() -> Host | None:
    """Where we are, or None where processes cannot be judged: no Linux, or a ``/proc`` that is not ours."""
    try:
        return identity.this_host()
    except (PlatformUnsupported, IdentityUnknown):
        return None


def _flight(row: Any) -> Flight:
    beat = None if row.heartbeat_age is None else float(row.heartbeat_age)
    return build(Flight, row, age=float(row.age), heartbeat_age=beat)


def _look(flight: Flight, here: Host | None) -> Flight:
    process = flight.process
    if here is None or process is None or flight.pid_scope != here.pid_scope:
        return replace(flight, seen=Seen.ELSEWHERE)
    found = probe.stat(process.pid)
    if found is None:
        return replace(flight, seen=Seen.GONE)
    if not same(process, found.start_time):
        return replace(flight, seen=Seen.RECYCLED)
    if not found.running:
        return replace(flight, seen=Seen.GONE)
    return replace(flight, seen=Seen.VERIFIED, cpu=found.cpu, rss=found.rss)


def same(process: ProcessId, start_time: int) -> bool:
    """Whether the pid still means this process, inode included where the stamp and the kernel have one."""
    if start_time != process.start_time:
        return False
    if not process.inode or not pidfd.inodes_are_distinct():
        return True
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:
        return True
    try:
        return process.same_process(pidfd.identify(process.pid, fd))
    finally:
        os.close(fd)
