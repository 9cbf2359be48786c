"""Admit: jobs whose time has come, and that nothing blocks, become claimable.

The most urgent go first: the priorities that wait are walked from the top, each by an index range of due rows, so a
backlog of future or blocked jobs costs nothing. Two hosts that admit at once skip each other's rows.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Integer, Select, bindparam, func, literal_column, select

from jobwarden.domain.states import Actor, JobState
from jobwarden.store.database import Transaction, now
from jobwarden.store.ledger import words
from jobwarden.store.schema import jobs
from jobwarden.store.transition import move_jobs

WINDOW = 500
_UNBLOCKED = jobs.c.blocked_by == literal_column("0")


def _highest(state: JobState) -> Select[Any]:
    return select(func.max(jobs.c.priority)).where(
        jobs.c.state == words(state), _UNBLOCKED, jobs.c.priority < bindparam("below", type_=Integer())
    )


def _due(state: JobState) -> Select[Any]:
    return (
        select(jobs.c.id)
        .where(
            jobs.c.state == words(state),
            _UNBLOCKED,
            jobs.c.priority == bindparam("priority", type_=Integer()),
            jobs.c.available_at <= now(),
        )
        .order_by(jobs.c.available_at)
        .limit(bindparam("most"))
        .with_for_update(of=[jobs], skip_locked=True)
    )


_WAITING = (JobState.RETRYING, JobState.PENDING)
_highest_of = {state: _highest(state) for state in _WAITING}
_due_of = {state: _due(state) for state in _WAITING}


def admit(transaction: Transaction, worker_id: str, most: int = WINDOW) -> int:
    """Move at most ``most`` due jobs of each waiting state to queued, and say how many."""
    return sum(_admit(transaction, state, worker_id, most) for state in _WAITING)


def _admit(transaction: Transaction, state: JobState, worker_id: str, most: int) -> int:
    admitted = 0
    priority: int | None = 1 << 15
    while admitted < most:
        priority = transaction.execute(_highest_of[state], below=priority).scalar()
        if priority is None:
            break
        due = transaction.execute(_due_of[state], priority=priority, most=most - admitted).scalars().all()
        moves = [{"job_id": job_id, "origin": state.value, "target": JobState.QUEUED.value} for job_id in due]
        admitted += len(move_jobs(transaction, moves, Actor.SUPERVISOR, worker_id))
    return admitted
