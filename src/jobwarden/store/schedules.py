"""Rows of schedules and their runs: those that are due, those that wait, and who wins an occurrence.

A schedule is looked at only once its ``next_due_at`` has come, so that any number of idle ones costs nothing. Of two
who record the same occurrence one wins, by the unique row; the lock on the schedule's row only spares the other the
work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Text,
    bindparam,
    cast,
    delete,
    exists,
    false,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    update,
)

from jobwarden.domain.occurrences import Action
from jobwarden.domain.states import LIVE, JobState
from jobwarden.store.database import Id, Instant, Transaction, after, encode, now, rows, skipping_duplicates
from jobwarden.store.edges import one_of
from jobwarden.store.ledger import words
from jobwarden.store.schema import RUNS, WAITS, events, jobs, schedule_runs, schedules

#: A schedule's row; its params as text, as they were given.
_whole: Select[Any] = select(
    *(column for column in schedules.c if column.name != "params"), cast(schedules.c.params, Text).label("params")
)
_zero: ColumnElement[int] = literal_column("0")
_id = bindparam("schedule", type_=Id)

# -- what is to be looked at ------------------------------------------------------------------------------------------

_due = (
    _whole.where(schedules.c.enabled, schedules.c.next_due_at <= now())
    .order_by(schedules.c.next_due_at)
    .limit(bindparam("most"))
    .with_for_update(of=[schedules], skip_locked=True)
)
_next_due = select(func.min(schedules.c.next_due_at)).where(schedules.c.enabled)
_their_job = jobs.alias("their_job")
_counts = or_(schedules.c.parked_counts, _their_job.c.state != words(JobState.ORPHANED))
_busy = (
    exists()
    .where(
        schedule_runs.c.schedule_id == schedules.c.id,
        schedule_runs.c.live == words(RUNS),
        _their_job.c.id == schedule_runs.c.job_id,
        one_of(_their_job.c.state, LIVE),
        _counts,
    )
    .correlate(schedules)
)
_waiting = select(schedule_runs.c.schedule_id).where(schedule_runs.c.live == words(WAITS))
_releasable = (
    _whole.where(schedules.c.id.in_(_waiting), ~_busy)
    .order_by(schedules.c.id)
    .limit(bindparam("most"))
    .with_for_update(of=[schedules], skip_locked=True)
)
_named = _whole.where(schedules.c.name == bindparam("name")).with_for_update(of=[schedules])
_several = _whole.where(schedules.c.name.in_(bindparam("names", expanding=True)))
_live = (
    select(
        schedule_runs.c.id,
        schedule_runs.c.schedule_id,
        schedule_runs.c.occurrence_time,
        schedule_runs.c.live,
        schedule_runs.c.job_id,
        func.coalesce(jobs.c.state, words(JobState.SUCCEEDED)).label("state"),  # a job that was pruned is over
    )
    .select_from(schedule_runs.outerjoin(jobs, jobs.c.id == schedule_runs.c.job_id))
    .where(
        schedule_runs.c.live.in_([words(WAITS), words(RUNS)]),
        schedule_runs.c.schedule_id.in_(bindparam("ids", expanding=True)),
    )
    .order_by(schedule_runs.c.schedule_id, schedule_runs.c.occurrence_time)
)


def seconds_to_next(transaction: Transaction) -> float | None:
    """Seconds until a schedule is due next, negative if one is; None if none ever is."""
    moment = transaction.execute(_next_due).scalar_one()
    return None if moment is None else (moment - transaction.now()).total_seconds()


def take_due(transaction: Transaction, most: int) -> Sequence[Row[Any]]:
    """The schedules that are due, the longest first, locked; those that somebody else has in hand are left out."""
    return transaction.execute(_due, most=most).all()


def take_releasable(transaction: Transaction, most: int) -> Sequence[Row[Any]]:
    """The schedules with a run that waits though nothing of them is active any more, locked as `take_due` does."""
    return transaction.execute(_releasable, most=most).all()


def lock(transaction: Transaction, name: str) -> Row[Any] | None:
    """The schedule of that name, locked until the end of the transaction."""
    return transaction.execute(_named, name=name).one_or_none()


def by_names(transaction: Transaction, names: Sequence[str]) -> dict[str, Row[Any]]:
    """The schedules of these names, as they are."""
    found = transaction.execute(_several, names=list(names)) if names else ()
    return {row.name: row for row in found}


def live_runs(transaction: Transaction, schedule_ids: Sequence[str]) -> Sequence[Row[Any]]:
    """Their runs that wait, or were not yet seen to be over, oldest first, with the state of the job."""
    return transaction.execute(_live, ids=list(schedule_ids)).all() if schedule_ids else ()


# -- runs -------------------------------------------------------------------------------------------------------------

_RUN = {
    "id": "id",
    "schedule_id": "id",
    "occurrence_time": "instant",
    "action": "text",
    "job_id": "id",
    "reason": "text",
    "evaluator_worker_id": "id",
    "cause": "text",
    "actor": "text",
    "live": "text",
    "number": "int",
    "last_time": "instant",
}
_given = rows("run", **_RUN)
_columns = {
    **{name: _given.c[name] for name in _RUN},
    "number": func.coalesce(_given.c.number, literal_column("1")),
    "detected_at": now(),
    "created_at": now(),
}
_record = insert(schedule_runs).from_select(
    list(_columns),
    skipping_duplicates(select(*_columns.values()).select_from(_given), schedule_runs.name),
)
_asked = rows("asked", id="id")
_ours = select(schedule_runs.c.id).select_from(_asked.join(schedule_runs, schedule_runs.c.id == _asked.c.id))
_over = update(schedule_runs).where(schedule_runs.c.id.in_(bindparam("ids", expanding=True))).values(live=null())
_turn = rows("turn", id="id", job_id="id", action="text", reason="text", cause="text", actor="text", live="text")
_change = (
    update(schedule_runs)
    .where(schedule_runs.c.id == _turn.c.id)
    .values(
        job_id=_turn.c.job_id,
        action=_turn.c.action,
        live=_turn.c.live,
        reason=func.coalesce(_turn.c.reason, schedule_runs.c.reason),
        cause=func.coalesce(_turn.c.cause, schedule_runs.c.cause),
        actor=func.coalesce(_turn.c.actor, schedule_runs.c.actor),
    )
)
_between = select(
    schedule_runs.c.id, schedule_runs.c.occurrence_time, schedule_runs.c.action, schedule_runs.c.number
).where(
    schedule_runs.c.schedule_id == _id,
    schedule_runs.c.occurrence_time >= bindparam("begin", type_=Instant()),
    schedule_runs.c.occurrence_time <= bindparam("end", type_=Instant()),
)
_move = (
    update(schedule_runs)
    .where(schedule_runs.c.id == bindparam("run", type_=Id))
    .values(occurrence_time=bindparam("moment", type_=Instant()))
)
_call_off = (
    update(schedule_runs)
    .where(schedule_runs.c.schedule_id == _id, schedule_runs.c.live == words(WAITS))
    .values(live=null(), action=words(Action.SKIPPED), reason=bindparam("reason"))
)


def record(transaction: Transaction, runs: Sequence[Mapping[str, Any]]) -> set[str]:
    """Record runs, and give the ids of those that are ours: an occurrence that has its row already is somebody's."""
    if not runs:
        return set()
    transaction.execute(_record, rows=encode(runs))
    found = transaction.execute(_ours, rows=encode({"id": run["id"]} for run in runs))
    return {str(run_id) for run_id in found.scalars()}


def are_there(transaction: Transaction, run_ids: Iterable[str]) -> bool:
    """Whether any of these runs is recorded."""
    return bool(transaction.execute(_ours, rows=encode({"id": run_id} for run_id in run_ids)).first())


def close(transaction: Transaction, run_ids: Sequence[str]) -> None:
    """Nobody need look at these again: their jobs are over."""
    if run_ids:
        transaction.execute(_over, ids=list(run_ids))


def change(transaction: Transaction, turns: Sequence[Mapping[str, Any]]) -> None:
    """Give recorded runs another end. Rows: id, job_id, action, live, and where they change reason, cause, actor."""
    if turns:
        transaction.execute(_change, rows=encode(turns))


def between(transaction: Transaction, schedule_id: str, begin: Any, end: Any) -> Sequence[Row[Any]]:
    """The runs of occurrences from ``begin`` to ``end``."""
    return transaction.execute(_between, schedule=schedule_id, begin=begin, end=end).all()


def make_room(transaction: Transaction, run_id: str, moment: Any) -> None:
    """Record a run that stands for many under another moment, so that the first of them can have a row of its own."""
    transaction.execute(_move, run=run_id, moment=moment)


def call_off(transaction: Transaction, schedule_id: str, reason: str) -> int:
    """Have the runs that wait not run; how many."""
    return transaction.execute(_call_off, schedule=schedule_id, reason=reason).rowcount


# -- schedules --------------------------------------------------------------------------------------------------------

_decided = rows("decided", id="id", evaluated="instant", due="instant", enqueued="instant")
_advance = (
    update(schedules)
    .where(schedules.c.id == _decided.c.id)
    .values(
        last_evaluated_at=_decided.c.evaluated,
        next_due_at=_decided.c.due,
        last_enqueued_for=func.coalesce(_decided.c.enqueued, schedules.c.last_enqueued_for),
        last_error=null(),
        failures=_zero,
    )
)
_fail = (
    update(schedules)
    .where(schedules.c.id == _id)
    .values(
        last_error=bindparam("error"),
        next_due_at=after(bindparam("seconds")),
        failures=schedules.c.failures + literal_column("1"),
    )
)
_declared = select(schedules.c.name).where(
    schedules.c.owner == bindparam("owner"), schedules.c.source == bindparam("source"), schedules.c.dropped_at.is_(None)
)
_new = {"schedule": "id", "name": "text", "job": "text"}
_candidate = rows("candidate", **_new, zone="text")
_bear = insert(schedules).from_select(
    ["id", "name", "job", "timezone", "enabled", "created_at", "updated_at"],
    skipping_duplicates(
        select(
            _candidate.c.schedule,
            _candidate.c.name,
            _candidate.c.job,
            _candidate.c.zone,
            false(),
            now(),
            now(),
        ).select_from(_candidate),
        schedules.name,
    ),
)


def advance(transaction: Transaction, decided: Sequence[Mapping[str, Any]]) -> None:
    """Schedules were decided up to ``evaluated``, and are due again at ``due``; the last run was for ``enqueued``."""
    if decided:
        transaction.execute(_advance, rows=encode(decided))


def fail(transaction: Transaction, schedule_id: str, error: str, seconds: float) -> None:
    """A schedule cannot be evaluated: say why in its row, and look at it again in so many seconds."""
    transaction.execute(_fail, schedule=schedule_id, error=error, seconds=seconds)


def bear(transaction: Transaction, schedule_id: str, name: str, job: str, zone: str) -> bool:
    """Make an empty row, disabled, unless the name is taken; whether it is ours."""
    given = [{"schedule": schedule_id, "name": name, "job": job, "zone": zone}]
    transaction.execute(_bear, rows=encode(given))
    row = lock(transaction, name)
    return row is not None and row.id == schedule_id


def store(transaction: Transaction, schedule_id: str, columns: Mapping[str, Any]) -> None:
    """Write columns of a schedule as they shall be."""
    transaction.execute(
        update(schedules).where(schedules.c.id == schedule_id).values(**{"updated_at": now(), **columns})
    )


def remove(transaction: Transaction, schedule_id: str) -> None:
    """Remove a schedule with its runs; its jobs and its ledger stay."""
    transaction.execute(delete(schedule_runs).where(schedule_runs.c.schedule_id == schedule_id))
    transaction.execute(delete(schedules).where(schedules.c.id == schedule_id))


def declared_by(transaction: Transaction, owner: str, source: str) -> set[str]:
    """The names of the schedules that an application declared and has not dropped."""
    return set(transaction.execute(_declared, owner=owner, source=source).scalars())


# -- the ledger -------------------------------------------------------------------------------------------------------

_NOTE = {"schedule_id": "id", "from_state": "text", "to_state": "text", "reason": "text", "context": "json"}
_said = rows("said", **_NOTE)
_noted = {
    **{name: _said.c[name] for name in _NOTE},
    "level": words("schedule"),
    "actor_type": bindparam("actor_type"),
    "actor_id": bindparam("actor_id"),
    "created_at": now(),
}
_note = insert(events).from_select(list(_noted), select(*_noted.values()).select_from(_said))


def note(transaction: Transaction, said: Mapping[str, Any], actor_type: str, actor_id: str | None) -> None:
    """One ledger row about a schedule: schedule_id, from_state, to_state, reason, context (JSON text)."""
    transaction.execute(_note, rows=encode([said]), actor_type=actor_type, actor_id=actor_id)
