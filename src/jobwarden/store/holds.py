"""Holds: what keeps the members of a batch from starting, as one more edge that only a release satisfies.

The edge's upstream is the hold's own id, which is no job's. Every member has it that has not succeeded, whatever it is
doing: one that runs ends its run, and waits if it is to run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, insert, literal_column, null, select, update

from jobwarden.domain.states import JobState
from jobwarden.store.database import Id, Transaction, encode, now, rows
from jobwarden.store.edges import edge, link
from jobwarden.store.ledger import words
from jobwarden.store.schema import batches, dependencies, jobs, turns

FIRST = str(UUID(int=0))

_batch, _hold = bindparam("batch", type_=Id), bindparam("hold", type_=Id)
_begin = (
    update(batches)
    .where(batches.c.id == _batch)
    .values(hold_id=_hold, held_by=bindparam("actor"), held_reason=bindparam("why"), held_at=now(), updated_at=now())
)
_end = (
    update(batches)
    .where(batches.c.id == _batch)
    .values(**dict.fromkeys(("hold_id", "held_by", "held_reason", "held_at"), null()), updated_at=now())
)
_released = insert(turns).values(batch_id=_batch, job_id=_hold, state=words(JobState.SUCCEEDED))
_reached = (
    select(literal_column("1"))
    .where(dependencies.c.job_id == jobs.c.id, dependencies.c.depends_on_job_id == _hold)
    .correlate(jobs)
    .exists()
)
_free = (
    select(jobs.c.id, jobs.c.state)
    .where(
        jobs.c.batch_id == _batch,
        jobs.c.id > bindparam("last", type_=Id),
        jobs.c.state != words(JobState.SUCCEEDED),
        ~_reached,
    )
    .order_by(jobs.c.id)
    .limit(bindparam("most"))
    .with_for_update(of=[jobs])
)
_tied = rows("tied", job_id="id")
_tie = update(jobs).where(jobs.c.id == _tied.c.job_id).values(blocked_by=jobs.c.blocked_by + literal_column("1"))


def begin(transaction: Transaction, batch_id: str, hold_id: str, actor: str | None, why: str | None) -> None:
    """The batch, which must be locked, is held from here on; its members are not yet."""
    transaction.execute(_begin, batch=batch_id, hold=hold_id, actor=actor, why=why)


def end(transaction: Transaction, batch_id: str, hold_id: str) -> None:
    """The batch, which must be locked, is held no longer; a turn is left, by which its members are freed."""
    transaction.execute(_end, batch=batch_id)
    transaction.execute(_released, batch=batch_id, hold=hold_id)


def free(transaction: Transaction, batch_id: str, hold_id: str, last: str, most: int) -> Sequence[Any]:
    """Members (id and state) after ``last`` that the hold has not reached, locked."""
    return transaction.execute(_free, batch=batch_id, hold=hold_id, last=last, most=most).all()


def tie(transaction: Transaction, hold_id: str, job_ids: Sequence[str]) -> None:
    """These members wait for the release too."""
    if job_ids:
        link(transaction, [edge(job_id, hold_id, False) for job_id in job_ids])
        transaction.execute(_tie, rows=encode({"job_id": job_id} for job_id in job_ids))
