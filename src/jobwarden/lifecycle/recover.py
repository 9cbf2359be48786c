"""Recover: attempts change hands or are given up when whoever watched over them is gone.

Adopting moves the owner and nothing else: same process, same token, one ledger row. What is lost is settled as every
report is (`lifecycle.settle`), by a reaper, so its token moves on. A daemon is declared dead only if its heartbeat is
still the one that was watched: one that beats meanwhile is alive.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, bindparam, func, null, or_, select, update

from jobwarden.domain.report import Outcome, Report
from jobwarden.domain.stamp import ProcessId
from jobwarden.domain.states import IN_FLIGHT, LIVE_WORKER, Actor, AttemptState, JobState, WorkerState
from jobwarden.lifecycle.settle import Settlement, settle
from jobwarden.store.database import Transaction, age, encode, now, rows
from jobwarden.store.ledger import note, words
from jobwarden.store.schema import attempts, jobs, workers
from jobwarden.store.transition import move_jobs

_BITE = 500
_NOBODY = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Owner:
    """The daemon that an attempt belongs to, as its row says; ``beat`` is its last heartbeat."""

    id: str
    role: str
    state: WorkerState
    process: ProcessId | None
    beat: datetime


@dataclass(frozen=True, slots=True)
class Charge:
    """An attempt in flight, with what a reaper needs to judge, to watch and to end it. Times are in seconds.

    ``owner`` is None where the daemon's row is gone. ``running_for`` counts from the start of its handler.
    """

    attempt_id: str
    job_id: str
    number: int
    state: AttemptState
    token: int
    job: str
    idempotent: bool
    isolation: str
    pid_scope: str
    worker_id: str
    owner: Owner | None
    child: ProcessId
    nonce: str
    hostname: str | None
    running_for: float | None
    timeout: float | None
    max_runtime: float | None
    grace: float
    memory: int | None
    logged: int


_in_flight = or_(*(attempts.c.state == words(state) for state in sorted(IN_FLIGHT)))
_charges: Select[Any] = (
    select(
        *(
            attempts.c[name]
            for name in (
                *("id", "job_id", "attempt_number", "state", "fencing_token", "isolation", "pid_scope", "worker_id"),
                *("hostname", "child_pid", "child_start_time", "child_inode", "proc_nonce", "log_seq"),
            )
        ),
        age(attempts.c.started_at).label("running_for"),
        *(
            jobs.c[name]
            for name in ("job", "idempotent", "timeout_sec", "max_runtime_sec", "grace_sec", "memory_bytes")
        ),
        workers.c.role,
        workers.c.state.label("worker_state"),
        workers.c.pid,
        workers.c.start_time,
        workers.c.heartbeat_at,
    )
    .select_from(
        attempts.join(jobs, jobs.c.id == attempts.c.job_id).outerjoin(workers, workers.c.id == attempts.c.worker_id)
    )
    .where(_in_flight)
    .order_by(attempts.c.id)
)
_in_scope = _charges.where(attempts.c.pid_scope == bindparam("scope"))
_of_worker = _charges.where(attempts.c.worker_id == bindparam("worker")).limit(_BITE)


def charges_in(transaction: Transaction, pid_scope: str) -> list[Charge]:
    """Every attempt in flight of a pid scope."""
    return [_charge(row) for row in transaction.execute(_in_scope, scope=pid_scope)]


def charges_of(transaction: Transaction, worker_id: str) -> list[Charge]:
    """The attempts in flight that a daemon's id stands on, some hundreds at a time."""
    return [_charge(row) for row in transaction.execute(_of_worker, worker=worker_id)]


def _charge(row: Any) -> Charge:
    owner = None
    if row.role is not None:
        process = None if row.pid is None else ProcessId(row.pid, row.start_time or 0)
        owner = Owner(row.worker_id, row.role, WorkerState(row.worker_state), process, row.heartbeat_at)
    return Charge(
        attempt_id=row.id,
        job_id=row.job_id,
        number=row.attempt_number,
        state=AttemptState(row.state),
        token=row.fencing_token,
        job=row.job,
        idempotent=bool(row.idempotent),
        isolation=row.isolation or "fork",
        pid_scope=row.pid_scope or "",
        worker_id=row.worker_id or "",
        owner=owner,
        child=ProcessId(row.child_pid or 0, row.child_start_time or 0, row.child_inode or 0),
        nonce=row.proc_nonce or "",
        hostname=row.hostname,
        running_for=None if row.running_for is None else float(row.running_for),
        timeout=row.timeout_sec,
        max_runtime=row.max_runtime_sec,
        grace=10.0 if row.grace_sec is None else row.grace_sec,
        memory=row.memory_bytes,
        logged=row.log_seq,
    )


# -- adopting ---------------------------------------------------------------------------------------------------------

_asked = rows("asked", attempt_id="id", token="int", owner="id")
_still = (
    select(attempts.c.id)
    .select_from(_asked.join(attempts, attempts.c.id == _asked.c.attempt_id))
    .where(
        attempts.c.fencing_token == _asked.c.token,
        or_(
            attempts.c.worker_id == _asked.c.owner,
            and_(attempts.c.worker_id.is_(None), _asked.c.owner.is_(None)),
        ),
        _in_flight,
    )
    .order_by(attempts.c.id)
    .with_for_update(of=[attempts])
)
_rehome = (
    update(attempts)
    .where(attempts.c.id.in_(bindparam("ids", expanding=True)))
    .values(worker_id=bindparam("heir"), updated_at=now())
)


def adopt(transaction: Transaction, charges: Sequence[Charge], heir: str, why: str) -> set[str]:
    """Make ``heir`` the owner of attempts that still stand as they were seen; gives those that are its now."""
    if not charges:
        return set()
    asked = [{"attempt_id": c.attempt_id, "token": c.token, "owner": c.worker_id or None} for c in charges]
    found = set(transaction.execute(_still, rows=encode(asked)).scalars())
    if not found:
        return found
    transaction.execute(_rehome, ids=sorted(found), heir=heir)
    notes = [_adoption(charge, heir, why) for charge in charges if charge.attempt_id in found]
    note(transaction, notes, Actor.REAPER, heir)
    return found


def _adoption(charge: Charge, heir: str, why: str) -> dict[str, Any]:
    evidence = {
        "token": charge.token,
        "from": charge.worker_id,
        "to": heir,
        "pid": charge.child.pid,
        "start_time": charge.child.start_time,
        "why": why,
    }
    return {
        "job_id": charge.job_id,
        "attempt_id": charge.attempt_id,
        "level": "attempt",
        "state": charge.state.value,
        "reason": "adopted",
        "context": json.dumps(evidence),
    }


# -- giving up --------------------------------------------------------------------------------------------------------

_declare = (
    update(workers)
    .where(
        workers.c.id == bindparam("worker"),
        workers.c.heartbeat_at == bindparam("beat", type_=workers.c.heartbeat_at.type),
        workers.c.state.in_([state.value for state in sorted(LIVE_WORKER)]),
    )
    .values(state=WorkerState.DEAD.value, stopped_at=now(), last_signal="worker_dead", current_load=0)
)


def declare_dead(transaction: Transaction, worker_id: str, beat: datetime) -> bool:
    """Declare a daemon dead whose last heartbeat is still ``beat``; False if it has beaten since, or has stopped."""
    return bool(transaction.execute(_declare, worker=worker_id, beat=beat).rowcount)


def orphan(
    transaction: Transaction,
    charges: Sequence[Charge],
    reaper_id: str,
    words: str,
    evidence: Mapping[str, Any],
    left: Callable[[Charge], Report | None] = lambda charge: None,
) -> int:
    """Give attempts up as lost, but for the outcome that one ``left``; their jobs go where the rules say.

    Gives how many were still there.
    """
    settlements = [
        Settlement(c.job_id, c.token, left(c) or lost(c, words), {**evidence, "owner": c.worker_id}) for c in charges
    ]
    answers = settle(transaction, settlements, Actor.REAPER, reaper_id)
    return sum(answer.decision is not None for answer in answers)


def lost(charge: Charge, words: str) -> Report:
    """The report of an attempt that nobody has anything of; it is released if its handler provably never began."""
    if charge.state is AttemptState.DISPATCHED and not charge.idempotent:
        return Report(charge.attempt_id, Outcome.UNSTARTED, reason=f"{words}; its handler had not begun")
    error = {"class": "ProcessLost", "message": words}
    return Report(charge.attempt_id, Outcome.LOST, error=error, reason=words)


# -- who is there -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that counts as living, or that owns attempts although it does not; ``holds`` is how many."""

    id: str
    role: str
    state: WorkerState | None
    pid_scope: str
    hostname: str | None
    beat: datetime | None
    holds: int


_living = select(
    workers.c.id, workers.c.role, workers.c.state, workers.c.pid_scope, workers.c.hostname, workers.c.heartbeat_at
)
_live_states = workers.c.state.in_([state.value for state in sorted(LIVE_WORKER)])
_holding = (
    select(
        attempts.c.worker_id,
        func.min(attempts.c.pid_scope).label("pid_scope"),
        func.min(attempts.c.hostname).label("hostname"),
        func.count().label("holds"),
    )
    .where(_in_flight)
    .group_by(attempts.c.worker_id)
)


def fleet(transaction: Transaction) -> list[Daemon]:
    """Every daemon that counts as living, and every owner of attempts in flight, whatever became of its row."""
    holding = {row.worker_id: row for row in transaction.execute(_holding)}
    named = _living.where(or_(_live_states, workers.c.id.in_(bindparam("ids", expanding=True))))
    found = [
        Daemon(
            id=row.id,
            role=row.role,
            state=WorkerState(row.state),
            pid_scope=row.pid_scope,
            hostname=row.hostname,
            beat=row.heartbeat_at,
            holds=holding[row.id].holds if row.id in holding else 0,
        )
        for row in transaction.execute(named, ids=[key for key in holding if key] or [_NOBODY])
    ]
    known = {daemon.id for daemon in found}
    rowless = [row for key, row in holding.items() if key not in known]
    found += [Daemon(r.worker_id or "", "", None, r.pid_scope, r.hostname, None, r.holds) for r in rowless]
    return found


# -- the backstop -----------------------------------------------------------------------------------------------------

_stranded = (
    select(jobs.c.id, attempts.c.id.label("attempt_id"), attempts.c.state.label("attempt_state"))
    .select_from(jobs.outerjoin(attempts, and_(attempts.c.id == jobs.c.current_attempt_id)))
    .where(
        jobs.c.state == words(JobState.RUNNING),
        or_(attempts.c.id == null(), attempts.c.state.not_in([words(state) for state in sorted(IN_FLIGHT)])),
        age(jobs.c.updated_at) > bindparam("grace"),
    )
    .order_by(jobs.c.id)
    .limit(_BITE)
)
_flying = select(func.count()).select_from(attempts).where(_in_flight)


def in_flight_count(transaction: Transaction) -> int:
    """How many attempts are in flight, by the index of those alone."""
    return int(transaction.execute(_flying).scalar_one())


def stranded(transaction: Transaction, grace: float) -> list[Any]:
    """Jobs that run without an attempt in flight, for longer than ``grace`` seconds: there should be none, ever."""
    return list(transaction.execute(_stranded, grace=grace))


def unstrand(transaction: Transaction, found: Sequence[Any], reaper_id: str) -> list[tuple[str, str]]:
    """Take such jobs to where their attempt ended, or to a person where it is not known what it did."""
    ends = {AttemptState.SUCCEEDED: JobState.SUCCEEDED, AttemptState.FAILED: JobState.FAILED}
    ends |= {AttemptState.CANCELED: JobState.CANCELED, AttemptState.STOPPED: JobState.STOPPED}
    moves = [
        {
            "job_id": row.id,
            "origin": JobState.RUNNING.value,
            "target": ends.get(row.attempt_state, JobState.ORPHANED).value,
            "reason": "it ran without an attempt in flight",
            "context": json.dumps({"attempt_id": row.attempt_id, "attempt_state": row.attempt_state}),
        }
        for row in found
    ]
    won = move_jobs(transaction, moves, Actor.SYSTEM, reaper_id)
    return [(str(move["job_id"]), str(move["target"])) for move in won]
