"""Evaluate: schedules that are due get a run for each occurrence, and those of them that run get a job, in one
transaction.

Only schedules whose ``next_due_at`` has come are read. Each occurrence is decided once (`domain.occurrences`) and
recorded once: the unique row says whose it is, and only the winner makes the job. A schedule that cannot be evaluated
says so in its row and is tried again later, further and further apart; its occurrences stay undecided until then, and
the others never notice. The database's clock decides what is due.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Any

from sqlalchemy.exc import DBAPIError

from jobwarden.domain.occurrences import (
    BITE,
    Action,
    Active,
    Due,
    Overlap,
    Rules,
    Ruling,
    blocking,
    decide,
    lookahead,
)
from jobwarden.domain.schedule import Cause, due_at, rules_of, timing_of
from jobwarden.domain.states import ENDED, JobState
from jobwarden.domain.timing import Timing, checked
from jobwarden.lifecycle.enqueue import insert_rows
from jobwarden.options import is_text
from jobwarden.store import schedules as store
from jobwarden.store.database import Transaction, instant
from jobwarden.store.ids import new_id
from jobwarden.store.schema import RUNS, WAITS

#: Schedules, and occurrences, that are decided in one transaction.
TURN, LOAD = 200, 2 * BITE
_FIRST_PAUSE, _LONGEST_PAUSE = 30.0, 3600.0
_MOST_WORDS = 2000
_TAG, _VALUE, _NAME = 64, 200, 200


@dataclass(slots=True)
class Evaluated:
    """What one look came to: jobs made, occurrences decided, schedules that are broken with what is wrong, and whether
    more is due than was looked at."""

    jobs: int = 0
    decided: int = 0
    broken: list[tuple[str, str]] = field(default_factory=list)
    more: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """One schedule that is due: its row, what it says, what is due, and up to when that is decided."""

    row: Any
    timing: Timing
    rules: Rules
    due: Due
    until: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """What a schedule has under way: jobs that are not over, runs that wait, and runs seen to be over."""

    active: Sequence[Active] = ()
    waiting: Sequence[Any] = ()
    over: Sequence[str] = ()


def evaluate(transaction: Transaction, worker_id: str | None, late_after: float, most: int = TURN) -> Evaluated:
    """Decide what is due, and let what waits go on; at most ``most`` schedules."""
    rows = store.take_due(transaction, most)
    told = evaluate_rows(transaction, rows, worker_id, late_after)
    told.more = told.more or len(rows) == most
    release(transaction, worker_id, told, most)
    return told


def evaluate_rows(transaction: Transaction, rows: Sequence[Any], worker_id: str | None, late_after: float) -> Evaluated:
    """Decide what is due of these schedules, which must be locked."""
    told, now = Evaluated(), transaction.now()
    plans: list[Plan] = []
    load = 0
    for row in rows:
        if load > LOAD:
            told.more = True
            break
        try:
            plans.append(_plan(row, now, timedelta(seconds=late_after)))
        except Exception as error:  # whatever is wrong with one must not stop the others
            _break(transaction, row, _sentence(error), told)
        else:
            load += len(plans[-1].due.moments)
    told.more = told.more or any(plan.due.more for plan in plans)
    _each_or_all(transaction, plans, told, lambda some: _write(transaction, some, worker_id, told))
    return told


def _plan(row: Any, now: datetime, late_after: timedelta) -> Plan:
    timing, rules = checked(row.name, timing_of(row)), rules_of(row)
    moment = now - timing.delay(row.name)
    begin = row.last_evaluated_at or row.created_at
    ahead = lookahead(rules, late_after)
    found = list(islice(takewhile(lambda at: at <= moment, timing.occurrences(begin)), BITE + ahead))
    more = len(found) == BITE + ahead
    taken = found[:BITE] if more else found
    return Plan(row, timing, rules, Due(taken, moment, late_after, more), taken[-1] if more else max(begin, moment))


# -- a broken one never stops the others ------------------------------------------------------------------------------


def _each_or_all(
    transaction: Transaction, plans: Sequence[Plan], told: Evaluated, work: Callable[[Sequence[Plan]], None]
) -> None:
    """Do the work for all at once; if the database refuses something of it, for each by itself."""
    if not plans or _refused(transaction, plans, work) is None:
        return
    for plan in plans:
        why = _refused(transaction, [plan], work)
        if why is not None:
            _break(transaction, plan.row, why, told)


def _refused(transaction: Transaction, plans: Sequence[Plan], work: Callable[[Sequence[Plan]], None]) -> str | None:
    """Do the work, or undo it and give what the database says against it; a fault that passes is raised."""
    mark = transaction.connection.begin_nested()
    try:
        work(plans)
    except DBAPIError as error:
        if error.connection_invalidated or error.orig is None or transaction.facts.fault(error.orig).transient:
            raise
        mark.rollback()
        return _sentence(error.orig)
    except (TypeError, ValueError, AttributeError) as error:
        mark.rollback()
        return _sentence(error)
    mark.commit()
    return None


def _break(transaction: Transaction, row: Any, why: str, told: Evaluated) -> None:
    pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(row.failures, 10))
    store.fail(transaction, row.id, why, pause)
    told.broken.append((row.name, why))


def _sentence(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:_MOST_WORDS]


# -- runs and their jobs ----------------------------------------------------------------------------------------------


def _write(transaction: Transaction, plans: Sequence[Plan], worker_id: str | None, told: Evaluated) -> None:
    under_way = standings(transaction, [p.row.id for p in plans if p.rules.overlap is not Overlap.ALLOW])
    runs: list[dict[str, Any]] = []
    born: dict[str, dict[str, Any]] = {}
    decided, jobs = 0, 0
    advanced = []
    for plan in plans:
        standing = under_way.get(plan.row.id, Standing())
        rulings = decide(plan.rules, plan.due, standing.active, len(standing.waiting))
        for ruling in rulings:
            run = _run(plan, ruling, worker_id)
            runs.append(run)
            if run["job_id"] is not None:
                born[run["id"]] = job_of(plan.row, run["job_id"], ruling.moment)
        decided += sum(ruling.number for ruling in rulings)
        advanced.append(_advanced(plan, rulings))
    won = store.record(transaction, runs)
    mine = [job for run_id, job in born.items() if run_id in won]
    if mine:
        insert_rows(transaction, mine)
        jobs = len(mine)
    store.close(transaction, [run_id for standing in under_way.values() for run_id in standing.over])
    store.advance(transaction, advanced)
    told.decided, told.jobs = told.decided + decided, told.jobs + jobs


def _run(plan: Plan, ruling: Ruling, worker_id: str | None) -> dict[str, Any]:
    runs = ruling.action is Action.ENQUEUED
    counted = RUNS if plan.rules.overlap is not Overlap.ALLOW else None
    return {
        "id": new_id(),
        "schedule_id": plan.row.id,
        "occurrence_time": instant(ruling.moment),
        "action": ruling.action.value,
        "job_id": new_id() if runs else None,
        "reason": ruling.reason,
        "evaluator_worker_id": worker_id,
        "cause": Cause.DUE.value,
        "live": counted if runs else WAITS if ruling.action is Action.QUEUED else None,
        "number": ruling.number,
        "last_time": instant(ruling.last) if ruling.last else None,
    }


def _advanced(plan: Plan, rulings: Sequence[Ruling]) -> dict[str, Any]:
    following = due_at(plan.timing, plan.row.name, plan.until)
    ran = [ruling.moment for ruling in rulings if ruling.action is Action.ENQUEUED]
    return {
        "id": plan.row.id,
        "evaluated": instant(plan.until),
        "due": instant(following) if following else None,
        "enqueued": instant(ran[-1]) if ran else None,
    }


def job_of(row: Any, job_id: str, moment: datetime, **more: Any) -> dict[str, Any]:
    """The job of one occurrence of a schedule, as enqueueing takes it; ``more`` are columns that differ.

    It carries the occurrence as a tag. A tag of the schedule that is none is left out: it must not stop the run.
    """
    given = {
        "id": job_id,
        "job": row.job,
        "name": row.name,
        "lane": row.lane,
        "params": row.params or "{}",
        "priority": row.priority,
        "idempotent": bool(row.idempotent),
        "max_attempts": row.max_attempts or 4,
        "created_by": f"schedule:{row.name}"[:_NAME],
        **(row.options or {}),
        "schedule_id": row.id,
        "scheduled_for": instant(moment),
        **more,
    }
    occurrence = {"schedule": row.name, "scheduled_for": moment.isoformat().replace("+00:00", "Z")}
    return {**given, "tags": json.dumps({**_valid(row.tags), **occurrence})}


def _valid(tags: Any) -> Mapping[str, str]:
    given = tags.items() if isinstance(tags, dict) else ()
    return {name: value for name, value in given if is_text(name, _TAG) and is_text(value, _VALUE)}


# -- what waits for its turn ------------------------------------------------------------------------------------------


def standings(transaction: Transaction, schedule_ids: Sequence[str]) -> dict[str, Standing]:
    """What these schedules have under way."""
    found: dict[str, Standing] = {}
    for run in store.live_runs(transaction, schedule_ids):
        old = found.get(run.schedule_id, Standing())
        if run.live == WAITS:
            found[run.schedule_id] = Standing(old.active, [*old.waiting, run], old.over)
        elif run.state in ENDED:
            found[run.schedule_id] = Standing(old.active, old.waiting, [*old.over, run.id])
        else:
            job = Active(run.job_id, JobState(run.state))
            found[run.schedule_id] = Standing([*old.active, job], old.waiting, old.over)
    return found


def release(transaction: Transaction, worker_id: str | None, told: Evaluated, most: int = TURN) -> None:
    """Let the oldest run that waits go on, of each schedule of which nothing is active any more."""
    rows = store.take_releasable(transaction, most)
    under_way = standings(transaction, [row.id for row in rows])  # read under the locks: who was first is seen
    turns: list[dict[str, Any]] = []
    jobs: list[dict[str, Any]] = []
    over: list[str] = []
    for row in rows:
        standing = under_way.get(row.id, Standing())
        over += standing.over
        counted = Rules(parked_counts=bool(row.parked_counts))
        if not standing.waiting or blocking(counted, standing.active) is not None:
            continue
        run, job_id = standing.waiting[0], new_id()
        turns.append({"id": run.id, "job_id": job_id, "action": Action.ENQUEUED.value, "live": RUNS})
        jobs.append(job_of(row, job_id, run.occurrence_time))
    store.change(transaction, turns)
    store.close(transaction, over)
    if jobs:
        insert_rows(transaction, jobs)
    told.jobs += len(jobs)
    told.more = told.more or len(rows) == most
