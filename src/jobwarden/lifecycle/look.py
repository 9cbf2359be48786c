"""Asking for a look at the process of a running job, which the daemon that watches it takes at its next heartbeat."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from jobwarden.errors import JobNotFound, WrongState
from jobwarden.store import looks
from jobwarden.store.database import Transaction
from jobwarden.store.schema import attempts, jobs

_newest = (
    select(jobs.c.state, attempts.c.id)
    .outerjoin(attempts, attempts.c.job_id == jobs.c.id)
    .where(jobs.c.id == bindparam("job"))
    .order_by(attempts.c.attempt_number.desc())
    .limit(1)
)


def ask_for_look(transaction: Transaction, job_id: str) -> None:
    """Ask for it. Raises `JobNotFound`, and `WrongState` if no attempt of the job is in flight."""
    found = transaction.execute(_newest, job=job_id).one_or_none()
    if found is None:
        raise JobNotFound(id=job_id)
    if found.id is None or not looks.ask(transaction, found.id):
        raise WrongState(id=job_id, state=found.state, action="a look at its process", needed="running")
