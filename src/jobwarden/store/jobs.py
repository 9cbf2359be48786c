"""Rows of jobs: their birth, and reads by key. States are moved by ``store.transition``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    bindparam,
    case,
    false,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
)
from sqlalchemy.sql.dml import UpdateBase

from jobwarden.domain.states import Actor, JobState
from jobwarden.store.database import Transaction, after, encode, now, rows, skipping_duplicates
from jobwarden.store.schema import counters, events, jobs, tags

DRAFT_SPEC = {
    "id": "id",
    "job": "text",
    "name": "text",
    "lane": "text",
    "params": "json",
    "priority": "int",
    "idempotent": "bool",
    "reconciles": "bool",
    "idempotency_key": "text",
    "max_attempts": "int",
    "backoff": "json",
    "isolation": "text",
    "on_lost": "text",
    "timeout_sec": "float",
    "max_runtime_sec": "float",
    "grace_sec": "float",
    "memory_bytes": "int",
    "tags": "json",
    "delay": "float",
    "due": "instant",
    "rerun_of": "id",
    "created_by": "text",
    "batch_id": "id",
    "batch_key": "text",
    "blocked_by": "int",
    "finalizer": "bool",
    "schedule_id": "id",
    "scheduled_for": "instant",
}
_given = rows("draft", **DRAFT_SPEC)
_queued: ColumnElement[str] = literal_column(f"'{JobState.QUEUED.value}'")
_pending: ColumnElement[str] = literal_column(f"'{JobState.PENDING.value}'")


def _birth(given: FromClause) -> dict[str, Any]:
    future = or_(given.c.delay > literal_column("0"), given.c.due > now())
    later = or_(future, given.c.blocked_by > literal_column("0"))
    plain = {name: given.c[name] for name in DRAFT_SPEC if name not in ("delay", "due")}
    return {
        **plain,
        "reconciles": func.coalesce(given.c.reconciles, false()),
        "blocked_by": func.coalesce(given.c.blocked_by, literal_column("0")),
        "finalizer": func.coalesce(given.c.finalizer, false()),
        "state": case((later, _pending), else_=_queued),
        "available_at": case((future, func.coalesce(given.c.due, after(given.c.delay))), else_=now()),
        "queued_at": case((later, null()), else_=now()),
        "created_at": now(),
        "updated_at": now(),
    }


def _followers(born: FromClause, by: Actor = Actor.CLIENT, **more: Any) -> list[UpdateBase]:
    """What is written for every job born: its first ledger row, with ``more`` of its columns, and the counters."""
    noted = {
        "job_id": born.c.id,
        "level": literal_column("'job'"),
        "to_state": born.c.state,
        "actor_type": literal_column(f"'{by.value}'"),
        "actor_id": born.c.created_by,
        "created_at": now(),
        **more,
    }
    counted = select(literal_column("'lane'"), born.c.lane, born.c.state, func.count()).group_by(
        born.c.lane, born.c.state
    )
    return [
        insert(events).from_select(list(noted), select(*noted.values())),
        insert(counters).from_select(["scope", "name", "state", "delta"], counted),
    ]


_columns = _birth(_given)
_insert = insert(jobs).from_select(
    list(_columns), skipping_duplicates(select(*_columns.values()).select_from(_given), jobs.name)
)
_kept = (jobs.c.id, jobs.c.lane, jobs.c.state, jobs.c.created_by)
_born = _insert.returning(*_kept).cte("born")
_note_born, _add_born = _followers(_born)
_whole = _add_born.add_cte(_note_born.cte("noted"))
_telling = select(_born.c.id).add_cte(_note_born.cte("noted"), _add_born.cte("counted"))
_fresh = select(*_kept).select_from(_given.join(jobs, jobs.c.id == _given.c.id)).subquery("born")
_steps = _followers(_fresh)
_ids = select(_fresh.c.id)

_tagged = rows("tagged", job_id="id", name="text", value="text")
_tag = insert(tags).from_select(["job_id", "name", "value"], select(*_tagged.c))


def insert_statements(chains_writes: bool, asks: bool) -> list[Any]:
    """The statements that insert jobs and their first ledger rows; each takes ``rows``.

    With ``asks`` the last one gives the ids of those born: not asked for, they need not travel.
    """
    if chains_writes:
        return [_telling if asks else _whole]
    return [_insert, *_steps, *([_ids] if asks else [])]


Alike = Sequence[tuple[Mapping[str, Any], Sequence[tuple[str, str]]]]

_sums = rows("sums", lane="text", state="text", number="int")
_count_born = insert(counters).from_select(
    ["scope", "name", "state", "delta"],
    select(literal_column("'lane'"), _sums.c.lane, _sums.c.state, func.sum(_sums.c.number)).group_by(
        _sums.c.lane, _sums.c.state
    ),
)


def pour(transaction: Transaction, alike: Alike) -> None:
    """Insert new jobs with their first ledger rows and counters by streaming them, on engines that can.

    ``alike`` are drafts (columns of DRAFT_SPEC) without id and params, and the id and params of each job like it.
    """
    moment, field = transaction.now(), transaction.facts.field
    known = [(_born_at(moment, draft), jobs_alike) for draft, jobs_alike in alike]
    first = known[0][0]
    transaction.pour(jobs, ("id", "params", *first), _job_lines(known, field))
    transaction.pour(events, ("job_id", *_note(first, moment)), _event_lines(known, moment, field))
    sums = [{"lane": draft["lane"], "state": draft["state"], "number": len(jobs_alike)} for draft, jobs_alike in known]
    transaction.execute(_count_born, rows=encode(sums))


def _born_at(moment: datetime, draft: Mapping[str, Any]) -> dict[str, Any]:
    """What `_birth` says, for a moment that is known."""
    due = draft["due"] or moment + timedelta(seconds=draft["delay"] or 0)
    later = due > moment or bool(draft.get("blocked_by"))
    plain = {name: draft.get(name) for name in DRAFT_SPEC if name not in ("id", "params", "delay", "due")}
    return {
        **plain,
        "reconciles": bool(draft.get("reconciles")),
        "blocked_by": draft.get("blocked_by") or 0,
        "finalizer": bool(draft.get("finalizer")),
        "state": (JobState.PENDING if later else JobState.QUEUED).value,
        "available_at": max(due, moment),
        "queued_at": None if later else moment,
        "created_at": moment,
        "updated_at": moment,
    }


def _note(born: Mapping[str, Any], moment: datetime) -> dict[str, Any]:
    return {
        "level": "job",
        "to_state": born["state"],
        "actor_type": Actor.CLIENT.value,
        "actor_id": born["created_by"],
        "created_at": moment,
    }


def _job_lines(known: Alike, field: Callable[[Any], str]) -> Iterator[str]:
    for born, jobs_alike in known:
        rest = "".join(f"\t{field(value)}" for value in born.values()) + "\n"
        for job_id, params in jobs_alike:
            yield f"{job_id}\t{field(params)}{rest}"


def _event_lines(known: Alike, moment: datetime, field: Callable[[Any], str]) -> Iterator[str]:
    for born, jobs_alike in known:
        rest = "".join(f"\t{field(value)}" for value in _note(born, moment).values()) + "\n"
        for job_id, _ in jobs_alike:
            yield job_id + rest


def tag_statement() -> UpdateBase:
    """The statement that writes tags; its one parameter ``rows`` has job_id, name and value."""
    return _tag


# -- born again: a new job like one that is over ----------------------------------------------------------------------

#: What is the old job's alone: its place in a batch or a schedule, its key, and all that came of it.
_OWN = frozenset(
    {
        "id",
        "id_end",
        "rerun_of",
        "batch_id",
        "batch_key",
        "schedule_id",
        "idempotency_key",
        "state",
        "wait_reason",
        "blocked_by",
    }
    | {"finalizer"}
    | {"attempt_count", "unspent_count", "current_attempt_id", "purpose", "last_error", "error_print", "result"}
    | {"created_by"}
    | {"cancel_requested", "cancel_mode", "cancel_reason", "cancel_actor", "cancel_requested_at"}
    | {"available_at", "created_at", "queued_at", "started_at", "finished_at", "updated_at"}
)
_old = jobs.alias("old")
_again = rows("again", id="id", old="id", max_attempts="int", context="json")
_alike = {
    **{column.name: _old.c[column.name] for column in jobs.c if column.name not in _OWN},
    "id": _again.c.id,
    "rerun_of": _old.c.id,
    "max_attempts": func.coalesce(_again.c.max_attempts, _old.c.max_attempts),
    "state": _queued,
    "created_by": bindparam("actor"),
    **dict.fromkeys(("available_at", "queued_at", "created_at", "updated_at"), now()),
}
_of_old = _again.join(_old, _old.c.id == _again.c.old)
_bear = insert(jobs).from_select(list(_alike), select(*_alike.values()).select_from(_of_old))
_reborn = select(*_kept, _again.c.context).select_from(_again.join(jobs, jobs.c.id == _again.c.id)).subquery("reborn")
_tag_again = insert(tags).from_select(
    ["job_id", "name", "value"],
    select(_again.c.id, tags.c.name, tags.c.value).select_from(_again.join(tags, tags.c.job_id == _again.c.old)),
)
_bear_steps = [
    _bear,
    *_followers(_reborn, Actor.OPERATOR, reason=bindparam("reason"), context=_reborn.c.context),
    _tag_again,
]


def bear_again(
    transaction: Transaction, alike: Sequence[Mapping[str, Any]], actor: str | None, reason: str | None
) -> None:
    """Insert new jobs like old ones, due now, with their first ledger rows, counters and tags.

    Rows: id, old (its id), max_attempts (None: the old one's) and context (JSON text for the ledger).
    """
    for statement in _bear_steps:
        transaction.execute(statement, rows=encode(alike), actor=actor, reason=reason)


_keys = rows("wanted", idempotency_key="text")
_by_key = select(jobs.c.id, jobs.c.job, jobs.c.params, jobs.c.idempotency_key).select_from(
    _keys.join(jobs, jobs.c.idempotency_key == _keys.c.idempotency_key)
)


def by_key_statement() -> Select[*tuple[Any, ...]]:
    """The statement that finds jobs by idempotency key; its one parameter ``rows`` has idempotency_key."""
    return _by_key


_wanted = rows("wanted", id="id")
_by_id = select(jobs.c.id).select_from(_wanted.join(jobs, jobs.c.id == _wanted.c.id))


def by_id_statement() -> Select[Any]:
    """The statement that finds jobs by id; its one parameter ``rows`` has id."""
    return _by_id
