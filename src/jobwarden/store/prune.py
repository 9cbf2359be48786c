"""What need not be kept any more: found along primary keys, whose order is that of time, and removed with its parts.

Nothing of this needs an index of its own, so that keeping things costs nothing while they are kept. Each search takes
up where the last one ended, looks at so many rows at most, and locks what it finds; what others hold is passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, bindparam, delete, false, func, insert, literal, or_, select, update

from jobwarden.domain.ids import first_at
from jobwarden.domain.retention import Retention
from jobwarden.domain.states import ENDED, BatchState, JobState, WorkerState
from jobwarden.store.database import Id, Instant, Transaction, age, encode, rows
from jobwarden.store.ledger import words
from jobwarden.store.schema import (
    attempts,
    batch_labels,
    batches,
    counters,
    errors,
    events,
    jobs,
    schedule_runs,
    schedules,
    workers,
)

#: Ids begin with the clock of the host that made them, which may be wrong by so much.
_CLOCKS = timedelta(days=1)
_LOOKED_AT = 2000
_one: ColumnElement[int] = literal(1)


def _older(column: ColumnElement[Any], span: timedelta | None) -> ColumnElement[bool]:
    return false() if span is None else age(column) > literal(span.total_seconds())


# -- jobs -------------------------------------------------------------------------------------------------------------


def _jobs_over(retention: Retention) -> ColumnElement[bool]:
    """The jobs of no batch that were kept long enough."""
    told = [and_(jobs.c.state == words(state), _plain(retention, state)) for state in sorted(ENDED)]
    told += [
        and_(jobs.c.state == words(state), jobs.c.lane == literal(lane), _older(jobs.c.finished_at, span))
        for (lane, state), span in retention.lanes.items()
    ]
    return and_(jobs.c.batch_id.is_(None), or_(*told))


def _plain(retention: Retention, state: JobState) -> ColumnElement[bool]:
    special = [lane for lane, of in retention.lanes if of is state]
    old = _older(jobs.c.finished_at, retention.of_state(state))
    return and_(jobs.c.lane.not_in(special), old) if special else old


def _batches_over(retention: Retention) -> ColumnElement[bool]:
    told = [
        and_(batches.c.state == words(state), _older(batches.c.finished_at, retention.of_batch(state)))
        for state in BatchState
    ]
    return and_(batches.c.finished_at.is_not(None), or_(*told))


def _members_over(retention: Retention, foretold: bool) -> ColumnElement[bool]:
    """The members of batches that are gone; ``foretold``: also of those that would go. None that ended lately: somebody
    may have had it run again in the very moment in which its batch went."""
    its = select(_one).where(batches.c.id == jobs.c.batch_id).correlate(jobs)
    gone = ~(its.where(~_batches_over(retention)) if foretold else its).exists()
    ended = jobs.c.state.in_([words(state) for state in sorted(ENDED)])
    return and_(jobs.c.batch_id.is_not(None), ended, gone, _older(jobs.c.finished_at, retention.shortest))


def jobs_over(
    transaction: Transaction, retention: Retention, after: str, most: int, foretold: bool
) -> tuple[list[Any], str | None]:
    """The next jobs after an id that need not be kept (id, lane, state), locked unless only ``foretold``, and from
    where to go on; None: there are no more."""
    window, last = _window(transaction, jobs, retention.shortest, after)
    if last is None:
        return [], None
    over = or_(_jobs_over(retention), _members_over(retention, foretold))
    found = select(jobs.c.id, jobs.c.lane, jobs.c.state).where(window, over).order_by(jobs.c.id).limit(most)
    return _found(transaction, jobs, found, last, most, foretold)


def uncount(transaction: Transaction, removed: Sequence[Any]) -> None:
    """Take jobs that are removed from the counts of their lanes."""
    sums = Counter((row.lane, row.state) for row in removed)
    given = [
        {"scope": "lane", "name": lane, "state": state, "delta": -number} for (lane, state), number in sums.items()
    ]
    if given:
        transaction.execute(_uncount, rows=encode(given))


_sums = rows("sums", scope="text", name="text", state="text", delta="int")
_uncount = insert(counters).from_select(["scope", "name", "state", "delta"], select(*_sums.c))


# -- batches ----------------------------------------------------------------------------------------------------------


def batches_over(
    transaction: Transaction, retention: Retention, after: str, most: int, foretold: bool
) -> tuple[list[Any], str | None]:
    """The next batches that need not be kept, as `jobs_over`, whole rows."""
    window, last = _window(transaction, batches, retention.shortest, after)
    if last is None:
        return [], None
    found = select(batches).where(window, _batches_over(retention)).order_by(batches.c.id).limit(most)
    return _found(transaction, batches, found, last, most, foretold)


_ids = bindparam("ids", expanding=True, type_=Id)
_drop_batches = [
    delete(batch_labels).where(batch_labels.c.batch_id.in_(_ids)),
    delete(events).where(events.c.batch_id.in_(_ids), events.c.job_id.is_(None)),
    delete(batches).where(batches.c.id.in_(_ids)),
]
_drop_sums = delete(counters).where(
    counters.c.scope == words("batch"), counters.c.name.in_(bindparam("names", expanding=True))
)


def remove_batches(transaction: Transaction, batch_ids: Sequence[str]) -> None:
    """Remove batches; their members are removed after them, and cannot be tried again meanwhile."""
    for removal in _drop_batches:
        transaction.execute(removal, ids=list(batch_ids))
    transaction.execute(_drop_sums, names=list(batch_ids))


# -- workers, runs of schedules, kinds of errors ----------------------------------------------------------------------

_holds = select(_one).where(attempts.c.worker_id == workers.c.id).correlate(workers).exists()
_left = func.coalesce(workers.c.stopped_at, workers.c.heartbeat_at)


def workers_over(
    transaction: Transaction, span: timedelta | None, after: str, most: int, foretold: bool
) -> tuple[list[Any], str | None]:
    """The next daemons that left long ago and of whose attempts none is kept."""
    window, last = _window(transaction, workers, span, after)
    if last is None:
        return [], None
    left = workers.c.state.in_([words(WorkerState.STOPPED), words(WorkerState.DEAD)])
    found = select(workers.c.id).where(window, left, _older(_left, span), ~_holds).order_by(workers.c.id).limit(most)
    return _found(transaction, workers, found, last, most, foretold)


_newer = schedule_runs.alias("newer")
_has_newer = (
    select(_one)
    .where(
        _newer.c.schedule_id == schedule_runs.c.schedule_id,
        _newer.c.occurrence_time > schedule_runs.c.occurrence_time,
    )
    .correlate(schedule_runs)
    .exists()
)


def runs_over(
    transaction: Transaction, span: timedelta | None, after: str, most: int, foretold: bool
) -> tuple[list[Any], str | None]:
    """The next runs that nobody need look at again; the last of each schedule stays."""
    window, last = _window(transaction, schedule_runs, span, after)
    if last is None:
        return [], None
    runs = schedule_runs.c
    until = func.coalesce(runs.last_time, runs.occurrence_time).label("until")
    old = and_(runs.live.is_(None), _older(runs.created_at, span), _has_newer)
    found = select(runs.id, runs.schedule_id, until).where(window, old).order_by(runs.id).limit(most)
    return _found(transaction, schedule_runs, found, last, most, foretold)


_past = bindparam("past", type_=Instant())
_forget = (
    update(schedules)
    .where(
        schedules.c.id == bindparam("schedule", type_=Id),
        or_(schedules.c.runs_pruned_to.is_(None), schedules.c.runs_pruned_to < _past),
    )
    .values(runs_pruned_to=_past)
)


def remove_runs(transaction: Transaction, removed: Sequence[Any]) -> None:
    """Remove runs, and write down up to when nobody knows any more what ran."""
    until: dict[str, Any] = {}
    for row in removed:
        until[row.schedule_id] = max(row.until, until.get(row.schedule_id, row.until))
    for schedule_id in sorted(until):
        transaction.execute(_forget, schedule=schedule_id, past=until[schedule_id])
    remove_rows(transaction, schedule_runs, [row.id for row in removed])


def remove_rows(transaction: Transaction, table: Table, ids: Sequence[str]) -> None:
    """Remove rows by their ids."""
    transaction.execute(delete(table).where(table.c.id.in_(_ids)), ids=list(ids))


_used = select(_one).where(jobs.c.error_print == errors.c.print).correlate(errors).exists()


def errors_over(
    transaction: Transaction, span: timedelta | None, after: str, most: int, foretold: bool
) -> tuple[list[Any], str | None]:
    """The next kinds of errors that no job has any more."""
    if span is None:
        return [], None
    kind = errors.c.print
    last = transaction.execute(
        select(kind).where(kind > after).order_by(kind).limit(1).offset(_LOOKED_AT - 1)
    ).scalar_one_or_none()
    window = kind > after if last is None else and_(kind > after, kind <= last)
    found = select(kind.label("id")).where(window, _older(errors.c.last_seen, span), ~_used).order_by(kind).limit(most)
    told = list(transaction.execute(found))
    return told, told[-1].id if len(told) == most else last


def remove_errors(transaction: Transaction, prints: Sequence[str]) -> None:
    """Remove kinds of errors."""
    transaction.execute(delete(errors).where(errors.c.print.in_(prints)))


# -- the walk ---------------------------------------------------------------------------------------------------------


def _window(
    transaction: Transaction, table: Table, span: timedelta | None, after: str
) -> tuple[ColumnElement[bool], str | None]:
    """The next rows after an id that may be old enough, and the last of them; None: there are none."""
    key = table.c.id
    if span is None:
        return false(), None
    before = literal(first_at(transaction.now() - span + _CLOCKS), Id)
    later = and_(key > literal(after, Id), key < before)
    ids = list(transaction.execute(select(key).where(later).order_by(key).limit(_LOOKED_AT)).scalars())
    if not ids:
        return false(), None
    last = str(ids[-1])
    return and_(key > literal(after, Id), key <= literal(last, Id)), last


def _found(
    transaction: Transaction, table: Table, query: Any, last: str, most: int, foretold: bool
) -> tuple[list[Any], str | None]:
    if not foretold:
        query = query.with_for_update(of=[table], skip_locked=True)
    found = list(transaction.execute(query))
    return found, str(found[-1].id) if len(found) == most else last
