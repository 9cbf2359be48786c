"""Rows of workers (every daemon is one), and what a worker owns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam, insert, select, update

from jobwarden.domain.stamp import ProcessId
from jobwarden.domain.states import IN_FLIGHT, LIVE_WORKER, WorkerState
from jobwarden.store.database import Json, Transaction, now
from jobwarden.store.ledger import words
from jobwarden.store.schema import attempts, jobs, workers

DRAIN = "drain"  # the one wish to a worker so far


def register(transaction: Transaction, worker: Mapping[str, Any]) -> None:
    """A daemon's row as it starts; the columns that it does not give are the database's. Harmless if it is there."""
    if transaction.execute(_standing, worker=worker["id"]).one_or_none() is not None:
        return  # the answer to the commit was lost
    transaction.execute(
        insert(workers).values(state=WorkerState.ACTIVE.value, started_at=now(), heartbeat_at=now(), **worker)
    )


_standing = select(workers.c.state, workers.c.wish, workers.c.wish_actor, workers.c.wish_reason).where(
    workers.c.id == bindparam("worker")
)
_beat = (
    update(workers)
    .where(
        workers.c.id == bindparam("worker"),
        workers.c.state.in_([state.value for state in sorted(LIVE_WORKER)]),
    )
    .values(heartbeat_at=now(), current_load=bindparam("load"), stats=bindparam("stats", type_=Json))
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the database says of a worker as it beats: whether it counts as living, and what somebody asks of it.

    ``known`` is False where its row is gone.
    """

    living: bool
    known: bool = True
    wish: str | None = None
    wish_actor: str | None = None
    wish_reason: str | None = None


def beat(transaction: Transaction, worker_id: str, load: int, stats: Mapping[str, Any] | None = None) -> Standing:
    """Say that the worker lives and holds ``load`` attempts; it is told where it stands.

    ``stats`` are what it counts of its own work, for its row.
    """
    living = bool(transaction.execute(_beat, worker=worker_id, load=load, stats=dict(stats or {})).rowcount)
    row = transaction.execute(_standing, worker=worker_id).one_or_none()
    if row is None:
        return Standing(living=False, known=False)
    return Standing(living, True, row.wish, row.wish_actor, row.wish_reason)


_process = select(workers.c.pid, workers.c.start_time).where(workers.c.id == bindparam("worker"))


def process_of(transaction: Transaction, worker_id: str) -> ProcessId | None:
    """The process that a daemon's row names; None if there is no such row. It means something in its pid scope only."""
    row = transaction.execute(_process, worker=worker_id).one_or_none()
    return None if row is None or row.pid is None else ProcessId(row.pid, row.start_time or 0)


_of_process = select(workers.c.id, workers.c.role).where(
    workers.c.pid_scope == bindparam("scope"),
    workers.c.pid == bindparam("pid"),
    workers.c.start_time == bindparam("start"),
    workers.c.state.in_([state.value for state in sorted(LIVE_WORKER)]),
)


def of_process(transaction: Transaction, scope: str, process: ProcessId) -> Row[Any] | None:
    """The daemon (id and role) that this process of a pid scope is, if it counts as living; the latest, if several."""
    found = transaction.execute(
        _of_process.order_by(workers.c.id.desc()), scope=scope, pid=process.pid, start=process.start_time
    )
    return found.first()


def set_state(transaction: Transaction, worker_id: str, state: WorkerState, signal: str | None = None) -> None:
    """What the worker says of itself: draining, or stopped; one that was declared dead has no say any more."""
    ended = {"stopped_at": now(), "current_load": 0} if state is WorkerState.STOPPED else {}
    transaction.execute(
        update(workers)
        .where(workers.c.id == worker_id, workers.c.state != WorkerState.DEAD.value)
        .values(state=state.value, last_signal=signal, heartbeat_at=now(), **ended)
    )


_owned = select(
    attempts.c.id,
    attempts.c.job_id,
    attempts.c.state,
    attempts.c.fencing_token,
    attempts.c.look_asked_at,
    jobs.c.cancel_requested,
    jobs.c.cancel_mode,
    jobs.c.cancel_reason,
).where(
    attempts.c.worker_id == bindparam("worker"),
    attempts.c.state.in_([words(state) for state in sorted(IN_FLIGHT)]),  # spelled out: partial indexes know constants
    jobs.c.id == attempts.c.job_id,
)
_over = select(attempts.c.id, attempts.c.fencing_token).where(
    attempts.c.id.in_(bindparam("ids", expanding=True)),
    attempts.c.state.not_in([state.value for state in sorted(IN_FLIGHT)]),
)


def owned(transaction: Transaction, worker_id: str) -> list[Row[Any]]:
    """Every attempt in flight that the database says is this worker's, with its token and its job's wishes."""
    return list(transaction.execute(_owned, worker=worker_id))


def ended(transaction: Transaction, attempt_ids: Sequence[str]) -> dict[str, int]:
    """Of these attempts, those that are over, with their tokens."""
    return {row.id: row.fencing_token for row in transaction.execute(_over, ids=attempt_ids)} if attempt_ids else {}
