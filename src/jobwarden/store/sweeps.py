"""Calling members of a batch off, as a set: who waits, who runs, and why that was, so that it can be undone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, bindparam, false, null, or_, select, true, update

from jobwarden.domain.states import WAITING, JobState
from jobwarden.store.database import Id, Transaction, encode, now, rows
from jobwarden.store.edges import one_of
from jobwarden.store.ledger import words
from jobwarden.store.schema import jobs

#: Why the system called a member off whose batch has failed: kept in ``jobs.cancel_mode``.
POLICY = "policy"
#: Who wished it where a failure policy did.
POLICY_ACTOR = "failure policy"

_blamed = rows("blamed", job_id="id")
_CLEAR = dict.fromkeys(("cancel_mode", "cancel_reason", "cancel_actor", "cancel_requested_at"), null())
_blame = (
    update(jobs)
    .where(jobs.c.id == _blamed.c.job_id)
    .values(cancel_mode=bindparam("mode"), cancel_reason=bindparam("reason"), cancel_actor=bindparam("actor"))
)
_absolve = update(jobs).where(jobs.c.id == _blamed.c.job_id).values(**_CLEAR)
_sweepable = (
    select(jobs.c.id, jobs.c.state)
    .where(
        jobs.c.batch_id == bindparam("batch", type_=Id),
        or_(
            and_(one_of(jobs.c.state, WAITING), jobs.c.finalizer == false()),
            and_(one_of(jobs.c.state, WAITING | {JobState.ORPHANED}), bindparam("all", type_=jobs.c.finalizer.type)),
        ),
    )
    .limit(bindparam("most"))
)
#: In order only where rows of others are waited for: ordering reads all that are left, for each bite.
_locked = {
    False: _sweepable.with_for_update(of=[jobs], skip_locked=True),
    True: _sweepable.order_by(jobs.c.id).with_for_update(of=[jobs]),
}
_flag = (
    update(jobs)
    .where(
        jobs.c.batch_id == bindparam("batch", type_=Id),
        jobs.c.state == words(JobState.RUNNING),
        jobs.c.cancel_requested == false(),
        or_(jobs.c.finalizer == false(), bindparam("all", type_=jobs.c.finalizer.type)),
    )
    .values(
        cancel_requested=true(),
        cancel_mode=words("cancel"),
        cancel_reason=bindparam("reason"),
        cancel_actor=bindparam("actor"),
        cancel_requested_at=now(),
    )
)
_disarm = (
    update(jobs)
    .where(
        jobs.c.batch_id == bindparam("batch", type_=Id),
        jobs.c.state == words(JobState.RUNNING),
        jobs.c.cancel_requested == true(),
        jobs.c.cancel_actor == words(POLICY_ACTOR),
    )
    .values(cancel_requested=false(), **_CLEAR)
)


def blame(transaction: Transaction, job_ids: Sequence[str], mode: str, reason: str | None, actor: str | None) -> None:
    """Keep with members that were called off why that was."""
    if job_ids:
        transaction.execute(_blame, rows=_ids(job_ids), mode=mode, reason=reason, actor=actor)


def absolve(transaction: Transaction, job_ids: Sequence[str]) -> None:
    """Forget that members were called off: they are to run after all."""
    if job_ids:
        transaction.execute(_absolve, rows=_ids(job_ids))


def sweepable(transaction: Transaction, batch_id: str, everyone: bool, most: int, wait: bool = False) -> list[Any]:
    """Members that wait (id and state), without the finalizers; with ``everyone``, those and the parked ones too.

    Rows that others hold are left out, or waited for.
    """
    return list(transaction.execute(_locked[wait], batch=batch_id, all=everyone, most=most))


def flag_running(transaction: Transaction, batch_id: str, everyone: bool, reason: str | None, actor: str | None) -> int:
    """Wish that members that run be canceled, where nobody wished anything yet; gives how many."""
    found = transaction.execute(_flag, batch=batch_id, all=everyone, reason=reason, actor=actor)
    return int(found.rowcount)


def disarm(transaction: Transaction, batch_id: str) -> None:
    """Take back what a failure policy wished of members that run."""
    transaction.execute(_disarm, batch=batch_id)


def _ids(job_ids: Sequence[str]) -> str:
    return encode({"job_id": job_id} for job_id in sorted(job_ids))
