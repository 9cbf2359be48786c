"""Operate: what a person asks of a job, each wish with its actor and reason in the ledger."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, insert, select, true, update

from jobwarden.domain.recovery import Wish
from jobwarden.domain.states import WAITING, Actor, JobState
from jobwarden.errors import JobNotFound, WrongState
from jobwarden.store.database import Transaction, now
from jobwarden.store.schema import events, jobs
from jobwarden.store.transition import move_jobs

_locked = (
    select(jobs.c.id, jobs.c.state, jobs.c.current_attempt_id)
    .where(jobs.c.id == bindparam("job"))
    .with_for_update(of=[jobs])
)


def cancel(transaction: Transaction, job_id: str, reason: str | None, actor_id: str | None) -> JobState:
    """Cancel a job: at once if it waits, otherwise its process is ended first; gives the state it is in now.

    Raises `JobNotFound`, or `WrongState` if the job is over.
    """
    return _wish(transaction, job_id, Wish.CANCEL, reason, actor_id)


def stop(transaction: Transaction, job_id: str, reason: str | None, actor_id: str | None) -> JobState:
    """Ask a running job to stop at its next checkpoint, or to be ended after its grace; a waiting one is canceled.

    Raises `JobNotFound`, or `WrongState` if the job is over.
    """
    return _wish(transaction, job_id, Wish.STOP, reason, actor_id)


def _wish(transaction: Transaction, job_id: str, wish: Wish, reason: str | None, actor_id: str | None) -> JobState:
    row = transaction.execute(_locked, job=job_id).one_or_none()
    if row is None:
        raise JobNotFound(id=job_id)
    state = JobState(row.state)
    if state in WAITING:
        return _end(transaction, job_id, state, JobState.CANCELED, reason, actor_id)
    if state is JobState.ORPHANED:
        target = JobState.CANCELED if wish is Wish.CANCEL else JobState.STOPPED
        return _end(transaction, job_id, state, target, reason, actor_id)
    if state is not JobState.RUNNING:
        raise WrongState(id=job_id, state=state.value, action=wish.value, needed="waiting, running or parked")
    _flag(transaction, job_id, wish, reason, actor_id)
    _note(transaction, row, wish, reason, actor_id)
    return state


def _end(
    transaction: Transaction, job_id: str, origin: JobState, target: JobState, reason: str | None, actor_id: str | None
) -> JobState:
    move: dict[str, Any] = {"job_id": job_id, "origin": origin.value, "target": target.value, "reason": reason}
    move_jobs(transaction, [move], Actor.OPERATOR, actor_id)
    return target


def _flag(transaction: Transaction, job_id: str, wish: Wish, reason: str | None, actor_id: str | None) -> None:
    transaction.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(
            cancel_requested=true(),
            cancel_mode=wish.value,
            cancel_reason=reason,
            cancel_actor=actor_id,
            cancel_requested_at=now(),
        )
    )


def _note(transaction: Transaction, row: Any, wish: Wish, reason: str | None, actor_id: str | None) -> None:
    transaction.execute(
        insert(events).values(
            job_id=row.id,
            attempt_id=row.current_attempt_id,
            level="job",
            from_state=row.state,
            to_state=row.state,
            actor_type=Actor.OPERATOR.value,
            actor_id=actor_id,
            reason=reason,
            context={"wish": wish.value},
            created_at=now(),
        )
    )
