"""Claim: queued jobs go to running, each onto a seat that already exists.

The claim carries the complete stamp of the seat's process, so there is no moment at which an attempt has no proven
process. The locking driver takes rows that nobody else holds; the racing driver, for engines without SKIP LOCKED,
looks at more rows than it needs in random order and lets the guarded update decide. A claim costs the same whatever
waits behind it: paused lanes, delayed and blocked jobs are not in the index that it reads. A worker that was declared
dead, and may not know it yet, claims nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any

from sqlalchemy import Row, Select, Text, bindparam, cast, exists, not_, select

from jobwarden.domain.claims import Claim, Isolation, Purpose
from jobwarden.domain.stamp import Host, ProcessId
from jobwarden.domain.states import Actor, JobState, WorkerState
from jobwarden.store.database import Transaction
from jobwarden.store.lanes import EVERY, is_capped, is_paused, lock_caps, running
from jobwarden.store.ledger import words
from jobwarden.store.schema import jobs, workers
from jobwarden.store.transition import open_attempts

_OVERSELECT = 4
_PURPOSES = {kind.value: kind for kind in Purpose}
_ISOLATIONS: dict[str | None, Isolation] = {None: Isolation.FORK, **{kind.value: kind for kind in Isolation}}


@dataclass(frozen=True, slots=True)
class Owner:
    """Who claims: the worker's row, its host and the supervisor's process."""

    worker_id: str
    host: Host
    supervisor: ProcessId

    def stamp(self) -> dict[str, Any]:
        """The part of the stamp that all attempts of this owner share."""
        return {
            "worker_id": self.worker_id,
            "host_id": self.host.machine,
            "pid_scope": self.host.pid_scope,
            "hostname": self.host.hostname,
            "supervisor_pid": self.supervisor.pid,
            "supervisor_start_time": self.supervisor.start_time,
        }


@dataclass(slots=True)
class Vacancy:
    """Room on one seat: ``pooled`` seats have run pool jobs and take nothing else; ``room`` is how many it may hold."""

    nonce: str
    process: ProcessId
    pooled: bool = False
    room: int = 1
    fallback: str | None = None
    taken: int = 0


@dataclass(frozen=True, slots=True)
class Catch:
    """What one look brought: the claims won, whether more may wait, how many jobs found no seat of their kind, and
    whether a cap kept any from starting."""

    seated: list[Seated]
    more: bool = False
    unseated: int = 0
    capped: bool = False


@dataclass(frozen=True, slots=True)
class Seated:
    """A claim and the nonce of the seat that it was made for."""

    claim: Claim
    nonce: str


_HEADER = (
    jobs.c.id,
    jobs.c.job,
    jobs.c.name,
    jobs.c.lane,
    cast(jobs.c.params, Text).label("params"),
    cast(jobs.c.tags, Text).label("tags"),
    jobs.c.batch_id,
    jobs.c.scheduled_for,
    jobs.c.idempotent,
    jobs.c.isolation,
    jobs.c.timeout_sec,
    jobs.c.max_runtime_sec,
    jobs.c.grace_sec,
    jobs.c.memory_bytes,
    jobs.c.unspent_count,
)
_buried = exists().where(workers.c.id == bindparam("worker"), workers.c.state == words(WorkerState.DEAD))
_waiting: Select[*tuple[Any, ...]] = (
    select(*_HEADER, is_capped(bindparam("lane")).label("capped"))
    .where(
        jobs.c.lane == bindparam("lane"),
        jobs.c.state == words(JobState.QUEUED),
        not_(is_paused(bindparam("lane"))),
        not_(_buried),
    )
    .order_by(jobs.c.priority.desc(), jobs.c.created_at, jobs.c.id)
    .limit(bindparam("most"))
)
_waiting_unlocked = _waiting.with_for_update(of=[jobs], skip_locked=True)


def claim(
    transaction: Transaction,
    lanes: Iterable[str],
    vacancies: Sequence[Vacancy],
    owner: Owner,
    new_ids: Callable[[int], list[str]],
    depth: Callable[[str], int] = lambda job: 1,
    shuffle: Callable[[list[Any]], None] | None = None,
) -> Catch:
    """Claim jobs from the lanes, in their order, onto the vacancies; give what was won.

    ``depth(job)`` says how many jobs of that name may wait on one pool seat. ``shuffle`` makes it the racing driver.
    """
    plan, served = _Plan(vacancies, depth), list(lanes)
    caps = _Caps(transaction, served)
    more = False
    for lane in served:
        if not plan.room:
            break
        room = plan.room
        found = _candidates(transaction, {"lane": lane, "worker": owner.worker_id}, room, shuffle)
        allowed = caps.allowed(lane, found)
        more = more or len(allowed) >= room
        for row in allowed:
            if plan.place(row):
                caps.begun(lane)
    stamps = {vacancy.nonce: _stamp(vacancy) for vacancy in vacancies if vacancy.taken}
    rows, moves = {}, []
    for (row, vacancy), attempt_id in zip(plan.placed, new_ids(len(plan.placed)), strict=True):
        rows[row[0]] = row
        moves.append(_move(row, vacancy, attempt_id, stamps[vacancy.nonce]))
    won = open_attempts(transaction, moves, Actor.SUPERVISOR, **owner.stamp())
    seated = [Seated(_claim(rows[move["job_id"]], move), move["proc_nonce"]) for move in won]
    return Catch(seated, more, plan.unseated, caps.kept_back)


def _candidates(
    transaction: Transaction, asked: dict[str, str], room: int, shuffle: Callable[[list[Any]], None] | None
) -> Sequence[Row[Any]]:
    if shuffle is None:
        return transaction.execute(_waiting_unlocked, **asked, most=room).all()
    seen = list(transaction.execute(_waiting, **asked, most=room * _OVERSELECT).all())
    shuffle(seen)
    return seen[:room]


class _Caps:
    """How many of each lane may begin, as far as lanes are capped.

    Lanes without a cap cost nothing. With the first capped one that is met, all caps of this worker's lanes are locked
    at once and in one order, so that two that claim at once wait for each other, and never both ways. A lane that was
    capped after that waits for the next look.
    """

    def __init__(self, transaction: Transaction, served: Sequence[str]) -> None:
        self.kept_back = False
        self._transaction, self._served = transaction, served
        self._room: dict[str, int] | None = None

    def allowed(self, lane: str, found: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
        """The first of those found, as many as may begin."""
        if not found or not found[0].capped:
            return found
        room = self._rooms()
        most = max(0, min(room.get(lane, room.get(EVERY, 0)), room.get(EVERY, room.get(lane, 0))))
        self.kept_back = self.kept_back or most < len(found)
        return found[:most]

    def begun(self, lane: str) -> None:
        """One more of the lane begins."""
        room = self._room or {}
        for name in room.keys() & {lane, EVERY}:
            room[name] -= 1

    def _rooms(self) -> dict[str, int]:
        if self._room is None:
            caps = lock_caps(self._transaction, self._served)
            busy = running(self._transaction)
            taken = {**busy, EVERY: sum(busy.values())}
            self._room = {name: most - taken.get(name, 0) for name, most in caps.items()}
        return self._room


class _Plan:
    """Which job goes onto which seat: one each first, and more only onto pool seats, quick ones behind quick ones."""

    def __init__(self, vacancies: Sequence[Vacancy], depth: Callable[[str], int]) -> None:
        self.placed: list[tuple[Row[Any], Vacancy]] = []
        self.unseated = 0
        self._depth = depth
        self._fresh = [vacancy for vacancy in vacancies if not vacancy.pooled]
        self._idle = [vacancy for vacancy in vacancies if vacancy.pooled and not vacancy.taken]
        busy = (vacancy for vacancy in vacancies if vacancy.pooled and vacancy.taken)
        self._busy = [(vacancy.taken, number, vacancy) for number, vacancy in enumerate(busy)]
        heapify(self._busy)
        self.room = len(self._fresh) + sum(vacancy.room - vacancy.taken for vacancy in vacancies if vacancy.pooled)

    def place(self, row: Row[Any]) -> bool:
        """Find the job a seat; whether one fits."""
        pool = row.isolation == Isolation.POOL
        vacancy = (self._idle.pop() if pool and self._idle else None) or (self._fresh.pop() if self._fresh else None)
        if pool and vacancy is None:
            vacancy = self._least_busy(row)
        if vacancy is None:
            self.unseated += not pool
            return False
        vacancy.taken += 1
        self.room -= 1
        self.placed.append((row, vacancy))
        if pool and vacancy.taken < vacancy.room and self._deep(row) > 1:
            heappush(self._busy, (vacancy.taken, len(self.placed) + (1 << 20), vacancy))
        return True

    def _least_busy(self, row: Row[Any]) -> Vacancy | None:
        if not self._busy or self._busy[0][0] >= self._deep(row):
            return None
        return heappop(self._busy)[2]

    def _deep(self, row: Row[Any]) -> int:
        return self._depth(row.job) if row.idempotent else 1


def _stamp(vacancy: Vacancy) -> dict[str, Any]:
    """What the attempts of one seat share: their process, and the ledger's evidence of it."""
    process = vacancy.process
    evidence = {"pid": process.pid, "start_time": process.start_time, "nonce": vacancy.nonce}
    if process.inode:
        evidence["inode"] = process.inode
    return {
        "child_pid": process.pid,
        "child_start_time": process.start_time,
        "child_inode": process.inode or None,
        "proc_nonce": vacancy.nonce,
        "isolation_reason": vacancy.fallback,
        "context": json.dumps(evidence),
    }


def _move(row: Row[Any], vacancy: Vacancy, attempt_id: str, stamp: dict[str, Any]) -> dict[str, Any]:
    isolation = Isolation.EXEC.value if vacancy.fallback else row.isolation or Isolation.FORK.value
    return {"job_id": row[0], "attempt_id": attempt_id, "isolation": isolation, **stamp}


def _claim(row: Row[Any], move: dict[str, Any]) -> Claim:
    job_id, job, label, lane, params, tags, batch_id, due, idempotent, isolation, *limits = tuple(row)
    timeout, max_runtime, grace, memory, unspent, _ = limits
    number = int(move["number"])
    return Claim(
        job_id=job_id,
        attempt_id=move["attempt_id"],
        attempt_number=number,
        token=number,
        job=job,
        params=params,
        lane=lane,
        label=label,
        tags=json.loads(tags) if tags else {},
        batch_id=batch_id,
        scheduled_for=due.isoformat() if due else None,
        idempotent=bool(idempotent),
        isolation=_ISOLATIONS[isolation],
        timeout=timeout,
        max_runtime=max_runtime,
        grace=10.0 if grace is None else grace,
        memory=memory,
        unspent=unspent,
        purpose=_PURPOSES[move["purpose"]],
    )
