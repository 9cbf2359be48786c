"""Rows of jobs: their birth, and reads by key. States are moved by ``store.transition``."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, case, func, insert, literal_column, null, or_, select
from sqlalchemy.sql.dml import UpdateBase

from jobwarden.domain.states import Actor, JobState
from jobwarden.store.database import after, now, rows, skipping_duplicates
from jobwarden.store.schema import counters, events, jobs, tags

DRAFT_SPEC = {
    "id": "id",
    "job": "text",
    "name": "text",
    "lane": "text",
    "params": "json",
    "priority": "int",
    "idempotent": "bool",
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
}
_given = rows("draft", **DRAFT_SPEC)
_queued: ColumnElement[str] = literal_column(f"'{JobState.QUEUED.value}'")
_pending: ColumnElement[str] = literal_column(f"'{JobState.PENDING.value}'")


def _birth(given: FromClause) -> dict[str, Any]:
    later = or_(given.c.delay > literal_column("0"), given.c.due > now())
    plain = {name: given.c[name] for name in DRAFT_SPEC if name not in ("delay", "due")}
    return {
        **plain,
        "state": case((later, _pending), else_=_queued),
        "available_at": case((later, func.coalesce(given.c.due, after(given.c.delay))), else_=now()),
        "queued_at": case((later, null()), else_=now()),
        "created_at": now(),
        "updated_at": now(),
    }


def _followers(born: FromClause) -> list[UpdateBase]:
    """What is written for every job born: its first ledger row and the counters."""
    noted = {
        "job_id": born.c.id,
        "level": literal_column("'job'"),
        "to_state": born.c.state,
        "actor_type": literal_column(f"'{Actor.CLIENT.value}'"),
        "actor_id": born.c.created_by,
        "created_at": now(),
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
_whole = select(_born.c.id).add_cte(*(write.cte(f"write_{n}") for n, write in enumerate(_followers(_born))))
_fresh = select(*_kept).select_from(_given.join(jobs, jobs.c.id == _given.c.id)).subquery("born")
_steps = _followers(_fresh)
_ids = select(_fresh.c.id)

_tagged = rows("tagged", job_id="id", name="text", value="text")
_tag = insert(tags).from_select(["job_id", "name", "value"], select(*_tagged.c))


def insert_statements(chains_writes: bool) -> list[Any]:
    """The statements that insert jobs and their first ledger rows; each takes ``rows``, the last gives those born."""
    return [_whole] if chains_writes else [_insert, *_steps, _ids]


def tag_statement() -> UpdateBase:
    """The statement that writes tags; its one parameter ``rows`` has job_id, name and value."""
    return _tag


_keys = rows("wanted", idempotency_key="text")
_by_key = select(jobs.c.id, jobs.c.job, jobs.c.params, jobs.c.idempotency_key).select_from(
    _keys.join(jobs, jobs.c.idempotency_key == _keys.c.idempotency_key)
)


def by_key_statement() -> Select[Any]:
    """The statement that finds jobs by idempotency key; its one parameter ``rows`` has idempotency_key."""
    return _by_key
