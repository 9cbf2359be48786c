"""One job at one moment, in the few columns that a handle asks for."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from jobwarden.domain.states import JobState
from jobwarden.errors import JobNotFound
from jobwarden.handle import Snapshot
from jobwarden.store.database import Id, Transaction
from jobwarden.store.schema import jobs

_seen = select(jobs.c.state, jobs.c.result, jobs.c.last_error).where(jobs.c.id == bindparam("job", type_=Id))


def look(transaction: Transaction, job_id: str) -> Snapshot:
    """The job as it is now; raises `JobNotFound`."""
    row = transaction.execute(_seen, job=job_id).one_or_none()
    if row is None:
        raise JobNotFound(id=job_id)
    return Snapshot(JobState(row.state), row.result, row.last_error)
