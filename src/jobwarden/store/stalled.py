"""Batches that nothing goes on with, though they are not over: found by what is missing, and set going again.

Every move of a member leaves a turn, so there should be none. A batch is stalled if it has no turn, and no member that
runs, may run or waits for a person: what is left waits for members that have all ended, for nobody, or for a hold that
was released. One that is held is not: it waits for a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, insert, literal_column, or_, select, update

from jobwarden.domain.states import ENDED, LIVE, JobState
from jobwarden.store.database import Id, Transaction
from jobwarden.store.edges import one_of
from jobwarden.store.ledger import words
from jobwarden.store.schema import batches, dependencies, jobs, turns

_one: ColumnElement[int] = literal_column("1")
_moving = one_of(jobs.c.state, LIVE - {JobState.PENDING})
_free = (jobs.c.state == words(JobState.PENDING)) & (jobs.c.blocked_by <= literal_column("0"))
_goes_on = select(_one).where(jobs.c.batch_id == batches.c.id, or_(_moving, _free)).correlate(batches).exists()
_turn = select(_one).where(turns.c.batch_id == batches.c.id).correlate(batches).exists()
_stalled = (
    select(batches.c.id, batches.c.state)
    .where(batches.c.finished_at.is_(None), batches.c.hold_id.is_(None), ~_goes_on, ~_turn)
    .order_by(batches.c.id)
    .limit(bindparam("most"))
)

_of_batch = jobs.c.batch_id == bindparam("batch", type_=Id)
_open_edges = (
    select(func.count())
    .where(dependencies.c.job_id == jobs.c.id, dependencies.c.satisfied_at.is_(None))
    .correlate(jobs)
    .scalar_subquery()
)
_recount = update(jobs).where(_of_batch, jobs.c.state == words(JobState.PENDING)).values(blocked_by=_open_edges)
_upstream = jobs.alias("upstream")
_unheard = (
    select(
        jobs.c.batch_id,
        dependencies.c.depends_on_job_id,
        func.coalesce(_upstream.c.state, words(JobState.SUCCEEDED)),
    )
    .select_from(
        jobs.join(dependencies, dependencies.c.job_id == jobs.c.id).outerjoin(
            _upstream, _upstream.c.id == dependencies.c.depends_on_job_id
        )
    )
    .where(
        _of_batch,
        jobs.c.state == words(JobState.PENDING),
        dependencies.c.satisfied_at.is_(None),
        or_(_upstream.c.id.is_(None), one_of(_upstream.c.state, ENDED)),
    )
    .distinct()
)
_say_again = insert(turns).from_select(["batch_id", "job_id", "state"], _unheard)


def stalled(transaction: Transaction, most: int) -> Sequence[Any]:
    """The oldest batches that are stalled, at most ``most``: id and state."""
    return transaction.execute(_stalled, most=most).all()


def set_going(transaction: Transaction, batch_id: str) -> None:
    """Count again what its members wait for, and leave again the turns of those that ended and were not heard."""
    transaction.execute(_recount, batch=batch_id)
    transaction.execute(_say_again, batch=batch_id)
