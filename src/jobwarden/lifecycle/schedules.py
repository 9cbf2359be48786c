"""Schedules as people make and change them: put, enable, disable, remove, run now, backfill, and what code declares.

Each change is one guarded step under the schedule's lock, with its ledger row in the same transaction. A change of the
timing decides first what is due by the old one, and counts from now; nothing that was decided is decided again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Any

from jobwarden.domain.audit import Action as Act
from jobwarden.domain.occurrences import LATE_AFTER, Action, Overlap
from jobwarden.domain.orders import By
from jobwarden.domain.schedule import (
    Cause,
    Definition,
    Source,
    definition_of,
    due_at,
    rules_columns,
    timing_columns,
    timing_of,
)
from jobwarden.domain.states import Actor
from jobwarden.domain.timing import Kind, Timing, checked
from jobwarden.errors import NameTaken, ScheduleNotFound, ScheduleRefused
from jobwarden.lifecycle.enqueue import insert_rows
from jobwarden.lifecycle.evaluate import evaluate_rows, job_of
from jobwarden.store import schedules as store
from jobwarden.store.audit import record_act
from jobwarden.store.database import Transaction, instant
from jobwarden.store.ids import new_id, new_ids
from jobwarden.store.schema import RUNS, WAITS

MOST_BACKFILLED = 10_000
_INSTANT = timedelta(microseconds=1)
_ENABLED, _DISABLED = "enabled", "disabled"
_NOT_RUN = frozenset({Action.SKIPPED, Action.COALESCED, Action.OUTSIDE_WINDOW, Action.OVERLAPPED})


@dataclass(frozen=True, slots=True)
class Synced:
    """What became of an application's declarations: names that were made, changed, and dropped."""

    made: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What a backfill came to: occurrences that get a run, and those that had one."""

    made: int
    there: int


# -- how it is defined ------------------------------------------------------------------------------------------------


def put(
    transaction: Transaction,
    definition: Definition,
    by: By,
    *,
    source: Source = Source.RUNTIME,
    owner: str | None = None,
    late_after: float = LATE_AFTER,
    only_new: bool = False,
) -> bool:
    """Make the schedule, or change it to be like that; whether anything was changed.

    It begins now. Raises `ScheduleRefused` for a timing that cannot be, and at run time for one that code declares;
    with ``only_new`` `NameTaken` for a name that one has.
    """
    checked(definition.name, definition.timing)
    wanted = {**_columns(definition), "source": source.value, "owner": owner}
    row = store.lock(transaction, definition.name)
    if row is None and _made(transaction, definition, wanted, by):
        return True
    if only_new:
        raise NameTaken(kind="schedule", name=definition.name)
    row = row or store.lock(transaction, definition.name)
    if source is Source.RUNTIME and row is not None and row.source == Source.CODE and row.dropped_at is None:
        rule = f"the application {row.owner} declares it"
        raise ScheduleRefused(name=definition.name, rule=rule, way_out="change it there, or give another name")
    return _edited(transaction, row, definition, wanted, by, late_after)


def change(transaction: Transaction, name: str, changed: Callable[[Definition], Definition], by: By) -> bool:
    """Change a schedule to what ``changed`` makes of it; whether anything was changed.

    Raises `ScheduleNotFound`, and what `put` raises.
    """
    return put(transaction, changed(definition_of(_locked(transaction, name))), by)


def _made(transaction: Transaction, definition: Definition, wanted: Mapping[str, Any], by: By) -> bool:
    schedule_id, timing = new_id(), definition.timing
    if not store.bear(transaction, schedule_id, definition.name, definition.job, timing.zone):
        return False
    begin = _beginning(timing, transaction.now())
    due = due_at(timing, definition.name, begin) if definition.enabled else None
    given = {**wanted, "enabled": definition.enabled, "last_evaluated_at": begin, "next_due_at": due}
    store.store(transaction, schedule_id, given)
    said = {key: value for key, value in wanted.items() if value not in (None, {}, [])}
    word = _word(definition.enabled)
    _note(transaction, schedule_id, definition.name, by, None, word, {"made": said})
    record_act(transaction, Act.SCHEDULE_PUT, definition.name, _author(by, wanted), None, {"state": word, **said})
    return True


def _edited(
    transaction: Transaction, row: Any, definition: Definition, wanted: Mapping[str, Any], by: By, late_after: float
) -> bool:
    changes = _changes(row, wanted)
    enabled, returns = bool(row.enabled), row.dropped_at is not None
    if not changes and not returns:
        return False
    given = {key: wanted[key] for key in changes} | {"last_error": None, "failures": 0}
    if returns:
        given |= {"dropped_at": None, "enabled": True}
    if returns or changes.keys() & timing_columns(definition.timing).keys():
        if enabled:
            evaluate_rows(transaction, _if_due(transaction, row), None, late_after)
        given["last_evaluated_at"] = _beginning(definition.timing, transaction.now())
        due = due_at(definition.timing, definition.name, given["last_evaluated_at"])
        given["next_due_at"] = due if enabled or returns else None
    elif row.last_error and enabled:
        given["next_due_at"] = due_at(definition.timing, definition.name, row.last_evaluated_at)
    store.store(transaction, row.id, given)
    told = {"changes": {key: [_plain(row, key), wanted[key]] for key in changes}}
    _note(transaction, row.id, row.name, by, _word(enabled), _word(enabled or returns), told)
    before = {"state": _word(enabled), **{key: _plain(row, key) for key in changes}}
    after = {"state": _word(enabled or returns), **{key: wanted[key] for key in changes}}
    record_act(transaction, Act.SCHEDULE_PUT, row.name, _author(by, wanted), before, after)
    return True


def _author(by: By, wanted: Mapping[str, Any]) -> By:
    """Who acts, for the audit: what code declares is the application's, whichever daemon brings it."""
    return By(wanted["owner"], by.reason, by.kind) if by.kind is Actor.SCHEDULER else by


def _if_due(transaction: Transaction, row: Any) -> list[Any]:
    return [row] if row.next_due_at is not None and row.next_due_at <= transaction.now() else []


def _beginning(timing: Timing, now: datetime) -> datetime:
    """From where a schedule counts that begins now; one whose only instant has passed is due at once."""
    return min(now, timing.run_at - _INSTANT) if timing.kind is Kind.ONE_TIME and timing.run_at else now


def _columns(definition: Definition) -> dict[str, Any]:
    return {
        "job": definition.job,
        "params": json.loads(definition.params),
        "lane": definition.lane,
        "priority": definition.priority,
        "idempotent": definition.idempotent,
        "max_attempts": definition.max_attempts,
        "options": dict(definition.options) or None,
        "tags": dict(definition.tags) or None,
        **timing_columns(definition.timing),
        **rules_columns(definition.rules),
    }


def _changes(row: Any, wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in wanted.items() if _plain(row, key) != value}


def _plain(row: Any, key: str) -> Any:
    value = row._mapping[key]
    if key == "params":
        return json.loads(value or "{}")
    return bool(value) if key in ("idempotent", "parked_counts") else value


# -- what an application declares -------------------------------------------------------------------------------------


def sync(transaction: Transaction, definitions: Sequence[Definition], owner: str, worker_id: str | None) -> Synced:
    """Make the schedules of an application like its declarations; one that it no longer has is disabled, and says so.

    What a person disabled stays so; one that comes back begins anew, from now.
    """
    by = By(worker_id, f"declared by {owner}", Actor.SCHEDULER)
    told = Synced()
    there = store.by_names(transaction, [definition.name for definition in definitions])
    for definition in sorted(definitions, key=lambda each: each.name):
        row = there.get(definition.name)
        wanted = {**_columns(definition), "source": Source.CODE.value, "owner": owner}
        if row is not None and row.dropped_at is None and not _changes(row, wanted):
            continue
        if put(transaction, definition, by, source=Source.CODE, owner=owner):
            (told.changed if row is not None else told.made).append(definition.name)
    gone = store.declared_by(transaction, owner, Source.CODE.value) - {each.name for each in definitions}
    told.dropped.extend(name for name in sorted(gone) if _dropped(transaction, name, owner, by))
    return told


def _dropped(transaction: Transaction, name: str, owner: str, by: By) -> bool:
    row = store.lock(transaction, name)
    if row is None or not row.enabled or row.dropped_at is not None:
        return False
    why = f"the application {owner} no longer declares it"
    given = {"enabled": False, "next_due_at": None, "dropped_at": transaction.now(), "last_error": why}
    store.store(transaction, row.id, given)
    store.call_off(transaction, row.id, why)
    _note(transaction, row.id, name, By(by.actor, why, by.kind), _ENABLED, _DISABLED, {"dropped": True})
    said = By(owner, why, by.kind)
    record_act(transaction, Act.SCHEDULE_DROP, name, said, {"state": _ENABLED}, {"state": _DISABLED, "dropped": True})
    return True


# -- what a person does -----------------------------------------------------------------------------------------------


def enable(transaction: Transaction, name: str, by: By, backfill: bool = False) -> bool:
    """Let it be due again, from now; with ``backfill`` also for what it missed meanwhile, as its policies say.

    Whether it was disabled. Raises `ScheduleNotFound`.
    """
    row = _locked(transaction, name)
    if row.enabled:
        return False
    timing = checked(name, timing_of(row))
    begin = row.last_evaluated_at if backfill and row.last_evaluated_at else transaction.now()
    given = {"enabled": True, "last_evaluated_at": begin, "next_due_at": due_at(timing, name, begin)}
    store.store(transaction, row.id, {**given, "last_error": None, "failures": 0, "dropped_at": None})
    _note(transaction, row.id, name, by, _DISABLED, _ENABLED, {"backfill": backfill})
    after = {"state": _ENABLED, "backfill": backfill}
    record_act(transaction, Act.SCHEDULE_ENABLE, name, by, {"state": _DISABLED}, after)
    return True


def disable(transaction: Transaction, name: str, by: By) -> bool:
    """Let it not be due; runs that wait for their turn are called off. Whether it was enabled."""
    row = _locked(transaction, name)
    if not row.enabled:
        return False
    store.store(transaction, row.id, {"enabled": False, "next_due_at": None})
    called_off = store.call_off(transaction, row.id, "the schedule was disabled before its turn came")
    _note(transaction, row.id, name, by, _ENABLED, _DISABLED, {"called_off": called_off})
    after = {"state": _DISABLED, "called_off": called_off}
    record_act(transaction, Act.SCHEDULE_DISABLE, name, by, {"state": _ENABLED}, after)
    return True


def remove(transaction: Transaction, name: str, by: By) -> None:
    """Remove it with the records of its runs; their jobs stay. Raises `ScheduleRefused` for one that code declares."""
    row = _locked(transaction, name)
    if row.source == Source.CODE and row.dropped_at is None:
        rule = f"the application {row.owner} declares it, and would make it again"
        raise ScheduleRefused(name=name, rule=rule, way_out="take it out there, or disable it")
    _note(transaction, row.id, name, by, _word(bool(row.enabled)), "removed", {})
    store.remove(transaction, row.id)
    before = {"state": _word(bool(row.enabled)), "job": row.job, "kind": row.kind, "source": row.source}
    record_act(transaction, Act.SCHEDULE_REMOVE, name, by, before, {"state": "removed"})


@dataclass(frozen=True, slots=True)
class Ask:
    """One wish to run a schedule now, made once: asking again with it asks for the same run."""

    run_id: str = field(default_factory=new_id)
    job_id: str = field(default_factory=new_id)


def run_now(transaction: Transaction, name: str, by: By, ask: Ask | None = None) -> str:
    """Run it once now, whatever its timing and whether it is enabled; gives the job's id.

    The run is recorded and says who asked; it counts as active for overlap. Raises `ScheduleNotFound`.
    """
    ask = ask or Ask()
    row = _locked(transaction, name)
    if store.are_there(transaction, [ask.run_id]):
        return ask.job_id
    now = transaction.now()
    words = f"asked for by {by.actor or 'somebody'}" + (f": {by.reason}" if by.reason else "")
    run = {"id": ask.run_id, "schedule_id": row.id, "occurrence_time": instant(now), "job_id": ask.job_id}
    run |= {"action": Action.ENQUEUED.value, "reason": words, "cause": Cause.MANUAL.value, "actor": by.actor}
    store.record(transaction, [{**run, "live": _counted(row)}])
    insert_rows(transaction, [job_of(row, ask.job_id, now, created_by=by.actor)])
    word = _word(bool(row.enabled))
    _note(transaction, row.id, name, by, word, word, {"run_now": ask.job_id})
    record_act(transaction, Act.SCHEDULE_RUN, name, by, {"state": word}, {"state": word, "job_id": ask.job_id})
    return ask.job_id


def backfill(transaction: Transaction, name: str, begin: datetime, end: datetime, by: By) -> Backfilled:
    """Make the runs of a past window, ends included: of each occurrence that has no job yet.

    They run one after another, unless the schedule allows overlap. Raises `ScheduleNotFound` or `ScheduleRefused`.
    """
    row = _locked(transaction, name)
    timing = checked(name, timing_of(row))
    if begin > end or end > transaction.now():
        rule = f"the window from {begin.isoformat()} to {end.isoformat()} is not in the past"
        raise ScheduleRefused(name=name, rule=rule, way_out="give two past moments, the earlier first")
    if row.runs_pruned_to is not None and begin <= row.runs_pruned_to:
        rule = f"what ran up to {row.runs_pruned_to.isoformat()} is no longer known, and could run twice"
        raise ScheduleRefused(name=name, rule=rule, way_out="let the window begin after that")
    found = takewhile(lambda at: at <= end, timing.occurrences(begin - _INSTANT))
    moments = list(islice(found, MOST_BACKFILLED + 1))
    if len(moments) > MOST_BACKFILLED:
        rule = f"the window has more than {MOST_BACKFILLED} occurrences"
        raise ScheduleRefused(name=name, rule=rule, way_out="give a shorter one, several times")
    known = {run.occurrence_time: run for run in store.between(transaction, row.id, begin, end)}
    for run in [run for run in known.values() if run.number > 1]:
        store.make_room(transaction, run.id, run.occurrence_time + _INSTANT)
        del known[run.occurrence_time]
    again = [known[at] for at in moments if at in known and known[at].action in _NOT_RUN]
    fresh = [at for at in moments if at not in known]
    _backfill(transaction, row, fresh, again, by)
    told = Backfilled(len(fresh) + len(again), len(moments) - len(fresh) - len(again))
    context = {"backfill": [begin.isoformat(), end.isoformat()], "made": told.made, "there": told.there}
    _note(transaction, row.id, name, by, _word(bool(row.enabled)), _word(bool(row.enabled)), context)
    if told.made:  # a repetition of what was committed makes none
        word = _word(bool(row.enabled))
        record_act(transaction, Act.SCHEDULE_BACKFILL, name, by, {"state": word}, {"state": word, **context})
    return told


def _backfill(transaction: Transaction, row: Any, fresh: Sequence[datetime], again: Sequence[Any], by: By) -> None:
    words = f"backfill asked for by {by.actor or 'somebody'}" + (f": {by.reason}" if by.reason else "")
    allowed = row.overlap_policy == Overlap.ALLOW
    ids = new_ids(2 * len(fresh) + len(again))
    runs, changed, jobs = [], [], []
    told = {"action": (Action.ENQUEUED if allowed else Action.QUEUED).value, "live": None if allowed else WAITS}
    told |= {"reason": words, "cause": Cause.BACKFILL.value, "actor": by.actor}
    for moment, run_id, job_id in zip(fresh, ids, ids[len(fresh) :], strict=False):
        made = job_id if allowed else None
        run = {"id": run_id, "schedule_id": row.id, "occurrence_time": instant(moment), "job_id": made}
        runs.append({**run, **told})
        jobs.append((job_id, moment))
    for run, job_id in zip(again, ids[2 * len(fresh) :], strict=True):
        reason = f"{words}; it was {run.action} before"
        changed.append({"id": run.id, "job_id": job_id if allowed else None, **told, "reason": reason})
        jobs.append((job_id, run.occurrence_time))
    store.record(transaction, runs)
    store.change(transaction, changed)
    if allowed and jobs:
        insert_rows(transaction, [job_of(row, job_id, moment, created_by=by.actor) for job_id, moment in jobs])


def _counted(row: Any) -> str | None:
    return RUNS if row.overlap_policy != Overlap.ALLOW else None


def _locked(transaction: Transaction, name: str) -> Any:
    row = store.lock(transaction, name)
    if row is None:
        raise ScheduleNotFound(name=name)
    return row


def _word(enabled: bool) -> str:
    return _ENABLED if enabled else _DISABLED


def _note(
    transaction: Transaction, schedule_id: str, name: str, by: By, before: str | None, now: str, told: Mapping[str, Any]
) -> None:
    said = {"schedule_id": schedule_id, "from_state": before, "to_state": now, "reason": by.reason}
    context = json.dumps({"schedule": name, **told}, default=str)
    store.note(transaction, {**said, "context": context}, by.kind.value, by.actor)
